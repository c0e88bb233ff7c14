"""From the answers of annotators to labels."""
