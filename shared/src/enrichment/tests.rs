//! Files of each format, and their mistakes.
