"""The registry in, what other tools load out: dashboards."""
