//! The controller dies between any two of its writes.
