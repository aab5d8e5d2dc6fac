"""What is refused or warned about before it is stored."""
