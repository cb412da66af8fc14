//! `mizan user`: who may sign in.

use anyhow::Result;
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use crate::config::StoreFlags;
use crate::ledger::Role;

use super::books::call;
use super::output::{OutputFlags, list, number, text};

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user and print its invitation, which is shown once
    Create {
        /// What it signs in with, such as an e-mail address
        name: String,
        /// The account it belongs to; operators belong to none
        #[arg(long)]
        account: Option<String>,
        /// owner, member or operator
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// List all users
    List {
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Print a new invitation, with which a user sets its password; earlier ones end
    Invite {
        /// The user's number, as `mizan user list` shows it
        id: i64,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Make an owner a member, or a member an owner
    Role {
        /// The user's number, as `mizan user list` shows it
        id: i64,
        /// owner or member
        role: Role,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Disable a user: its sessions end at once
    Disable {
        /// The user's number, as `mizan user list` shows it
        id: i64,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
}

pub(crate) fn run(command: UserCommand) -> Result<()> {
    match command {
        UserCommand::Create { name, account, role, store, output } => {
            let body = json!({ "name": name, "account": account, "role": role.as_str() });
            output.show(&call(store, Method::POST, "users", Some(body))?, print_invitation);
        }
        UserCommand::List { store, output } => {
            output.show(&call(store, Method::GET, "users", None)?, print_users);
        }
        UserCommand::Invite { id, store, output } => {
            let path = format!("users/{id}/invite");
            let invited = call(store, Method::POST, &path, Some(json!({})))?;
            output.show(&invited, print_invitation);
        }
        UserCommand::Role { id, role, store, output } => {
            let body = json!({ "role": role.as_str() });
            let user = call(store, Method::POST, &format!("users/{id}/role"), Some(body))?;
            output.show(&user, |user| println!("{} is now {role}", text(user, "name")));
        }
        UserCommand::Disable { id, store, output } => {
            let user = call(store, Method::DELETE, &format!("users/{id}"), None)?;
            output.show(&user, |user| println!("disabled {}", text(user, "name")));
        }
    }
    Ok(())
}

fn print_invitation(user: &Value) {
    println!("{}", text(user, "invitation"));
    eprintln!(
        "invitation of user {} {}; it works once, within 7 days, and is not shown again; in a \
         browser:\n{}",
        number(user, "id"),
        text(user, "name"),
        text(user, "invitation_url")
    );
}

fn print_users(users: &Value) {
    println!("{:>5}  {:<32} {:<24} {:<9} STATE", "USER", "NAME", "ACCOUNT", "ROLE");
    for user in list(users) {
        let state = match (user["disabled"] == true, user["has_password"] == true) {
            (true, _) => "disabled",
            (false, true) => "active",
            (false, false) => "invited",
        };
        println!(
            "{:>5}  {:<32} {:<24} {:<9} {state}",
            number(user, "id"),
            text(user, "name"),
            text(user, "account"),
            text(user, "role"),
        );
    }
}
