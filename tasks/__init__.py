"""What is asked, what an answer is worth. Imports nothing else of ours."""
