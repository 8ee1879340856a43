"""HTTP/1.1 as the control plane speaks it: gunicorn's, with a short way for Invoke."""
