"""The other AWS services: clients of them, and moto's server, which stands for them here."""
