"""The only truth about state: tables, engines, migrations, the audit log."""
