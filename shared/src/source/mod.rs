//! Files to leads.
