//! What joins the books with the world around them: teams are told about their credits.
//! Never knows: HTTP statuses of ours, tokens, models.

pub mod notices;
