//! Items read and written, without a server.
mod reading;
mod writing;
