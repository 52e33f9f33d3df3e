"""From tables to panels: what there is to forecast from."""
