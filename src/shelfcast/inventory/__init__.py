"""From laws of demand to orders: economics, simulation, policies."""
