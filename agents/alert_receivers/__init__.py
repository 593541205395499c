"""Where alerts are sent to: Alertmanager, a webhook, or whatever Apprise reaches."""
