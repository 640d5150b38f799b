"""What monitoring costs, each figure beside its anchor in the same run."""
