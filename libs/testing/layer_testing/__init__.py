"""What tests of several services share. Never imported by anything that ships."""
