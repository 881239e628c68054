"""Text inputs: token ids, dialogues, prompts, the inventory."""
