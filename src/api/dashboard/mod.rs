//! The dashboard, as far as a server has a part in it: the files of its pages, browsers that sign
//! in and keep a cookie, and what such a cookie is good for. All else the pages do through the API.
//!
//! The pages are plain modules that run as they lie in `web`: nothing builds them. Builds for
//! development read them from disk, so that an edit shows at the next reload; release builds carry
//! them inside.
//!
//! Promises: pages load nothing from elsewhere and run no script but their own; a cookie opens what
//! the credentials behind it open, and the playground, for this server's own pages only.
//! Never knows: what the pages show.

mod cookie;
mod files;
mod playground;
mod same_origin;
mod sign_in;
mod tickets;

pub(super) use cookie::{Jar, cookie_of};
pub(super) use files::{file, index, inline_hash};
pub(super) use playground::{playground_key, would_be_let_play};
pub(super) use same_origin::check_same_origin;
pub(super) use sign_in::sign_in;
pub(super) use tickets::{Ticket, Tickets};
