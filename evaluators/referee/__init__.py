"""The referee: the trusted side of a task with hidden answers. Lives in a slot's process, never in the candidate's."""
