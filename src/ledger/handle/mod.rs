//! What callers can ask of the books: commands, answered once they are committed, and reads.
//!
//! One file for each subject. A command of an operator or about money survives a power cut once it
//! is answered; the steps of a meter survive a kill of the process.

mod accounts;
mod meters;
mod notices;
mod reads;
mod sales;
mod sales_reads;
mod usage;
