"""What tests share: builders of studies, evidence and data sets, fake jobs, and components."""
