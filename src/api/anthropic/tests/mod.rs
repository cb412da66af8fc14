//! What is read and written, without a server.

mod prompts;
mod writing;
