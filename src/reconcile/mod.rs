//! One task per unit: snapshot → build → resolve → plan → execute → report.
