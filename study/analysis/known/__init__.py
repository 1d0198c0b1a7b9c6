"""What was known when: settings that changed after results were shown, later repetitions, and the campaign."""
