"""Study files, settings and components: what is asked for, validated."""
