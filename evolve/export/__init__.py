"""Taking a run elsewhere: reports (`report`), whole archives (`bundle`), experiment trackers (`trackers`)."""
