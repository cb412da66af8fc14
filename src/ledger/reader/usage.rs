//! Usage: meters summed up by day, account, model and key, by when they were opened.
//!
//! Promises: one commit is seen, open meters included as they stand, so the credits of all time are
//! an account's `total_usage` at any instant; no more rows are read than lie in the time asked for.

use std::str::FromStr;

use rusqlite::{Connection, Row, named_params};

use crate::ledger::dates::{DAY_MS, Day, ZONE_MS};
use crate::ledger::types::{AccountId, Credits, KeyId};

/// The most groups that are summed up at once.
pub(in crate::ledger) const MAX_USAGE_ROWS: usize = 10_000;

/// What usage is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UsageBy {
    /// The day in Kuwait.
    Day,
    /// Who paid.
    Account,
    /// The model's id.
    Model,
    /// The key that was shown.
    Key,
}

impl UsageBy {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Account => "account",
            Self::Model => "model",
            Self::Key => "key",
        }
    }

    /// Its value in a meter.
    fn column(self) -> String {
        match self {
            Self::Day => format!("(m.opened_ms+{ZONE_MS})/{DAY_MS}"),
            Self::Account => "m.account_id".to_owned(),
            Self::Model => "m.model".to_owned(),
            Self::Key => "m.key_id".to_owned(),
        }
    }
}

impl FromStr for UsageBy {
    type Err = UnknownGrouping;

    fn from_str(text: &str) -> Result<Self, UnknownGrouping> {
        let all = [Self::Day, Self::Account, Self::Model, Self::Key];
        let found = all.into_iter().find(|by| by.as_str() == text);
        found.ok_or_else(|| UnknownGrouping(text.to_owned()))
    }
}

/// A word that usage is not told apart by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("usage is not grouped by {0:?}: use day, model, key, or account where there are several")]
pub struct UnknownGrouping(String);

/// Which meters are summed up, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// Whose; `None`: everybody's.
    pub account: Option<AccountId>,
    /// Opened at this time or later, in Unix milliseconds.
    pub from_ms: i64,
    /// Opened before this time.
    pub to_ms: i64,
    /// Groups, and the order of the rows; each once.
    pub by: Vec<UsageBy>,
}

/// A key as people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    /// Names it to the ledger.
    pub id: KeyId,
    /// What its owner calls it.
    pub label: String,
    /// Its secret's first characters.
    pub prefix: String,
}

/// What a group of meters comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageSums {
    /// Meters, reversed ones included.
    pub requests: i64,
    /// Prompt tokens, which are free.
    pub input_tokens: i64,
    /// Tokens paid for.
    pub output_tokens: i64,
    /// What they cost.
    pub credits: Credits,
    /// How many of the requests were given back.
    pub reversed: i64,
}

/// One group; what it is not told apart by is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The day.
    pub day: Option<Day>,
    /// The account's name.
    pub account: Option<String>,
    /// The model's id.
    pub model: Option<String>,
    /// The key.
    pub key: Option<KeyName>,
    /// What it comes to.
    pub sums: UsageSums,
}

/// Usage, and all of it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The groups, in the order of what they are told apart by.
    pub rows: Vec<UsageRow>,
    /// The sum of the rows.
    pub total: UsageSums,
}

/// Sums meters up. `None`: more than [`MAX_USAGE_ROWS`] groups.
pub(in crate::ledger) fn usage(
    conn: &Connection,
    query: &UsageQuery,
) -> rusqlite::Result<Option<Usage>> {
    let mut statement = conn.prepare(&sql(query))?;
    let asked = named_params! {
        ":account": query.account, ":from": query.from_ms, ":to": query.to_ms,
        ":max": MAX_USAGE_ROWS as i64 + 1,
    };
    let rows: Vec<UsageRow> = statement.query_map(asked, group)?.collect::<Result<_, _>>()?;
    if rows.len() > MAX_USAGE_ROWS {
        return Ok(None);
    }
    let total = rows.iter().fold(UsageSums::default(), |total, UsageRow { sums, .. }| UsageSums {
        requests: total.requests + sums.requests,
        input_tokens: total.input_tokens + sums.input_tokens,
        output_tokens: total.output_tokens + sums.output_tokens,
        credits: Credits(total.credits.0 + sums.credits.0),
        reversed: total.reversed + sums.reversed,
    });
    Ok(Some(Usage { rows, total }))
}

/// Account by account, as the index of meters is: so no meter outside of the time is looked at.
fn sql(query: &UsageQuery) -> String {
    let column = |by: UsageBy| {
        let value = if query.by.contains(&by) { by.column() } else { "NULL".to_owned() };
        format!("{value} AS {}", by.as_str())
    };
    let columns = [UsageBy::Day, UsageBy::Account, UsageBy::Model, UsageBy::Key].map(column);
    let of_account = if query.account.is_some() { "a.id=:account" } else { ":account IS NULL" };
    let values: Vec<String> = query.by.iter().map(|by| by.column()).collect();
    let groups: Vec<String> = query.by.iter().map(|by| format!("u.{}", by.as_str())).collect();
    let clause = |word: &str, list: &[String]| match list {
        [] => String::new(),
        list => format!("{word} {}", list.join(",")),
    };
    format!(
        "SELECT u.day,a.name,u.model,u.key,k.label,k.prefix,
           u.requests,u.input_tokens,u.output_tokens,u.credits,u.reversed
         FROM (
           SELECT {columns},count(*) AS requests,
             coalesce(sum(m.input_tokens),0) AS input_tokens,
             coalesce(sum(iif(m.state='reversed',0,m.output_tokens)),0) AS output_tokens,
             coalesce(sum(iif(m.state='reversed',0,m.used)),0) AS credits,
             coalesce(sum(m.state='reversed'),0) AS reversed
           FROM account a CROSS JOIN meter m INDEXED BY meter_account
           WHERE a.kind='team' AND {of_account} AND m.account_id=a.id
             AND m.opened_ms>=:from AND m.opened_ms<:to {grouped}) u
         LEFT JOIN account a ON a.id=u.account LEFT JOIN api_key k ON k.id=u.key
         {ordered} LIMIT :max",
        columns = columns.join(","),
        grouped = clause("GROUP BY", &values),
        ordered = clause("ORDER BY", &groups),
    )
}

fn group(row: &Row<'_>) -> rusqlite::Result<UsageRow> {
    let key = match row.get(3)? {
        Some(id) => Some(KeyName { id, label: row.get(4)?, prefix: row.get(5)? }),
        None => None,
    };
    Ok(UsageRow {
        day: row.get::<_, Option<i64>>(0)?.map(Day),
        account: row.get(1)?,
        model: row.get(2)?,
        key,
        sums: UsageSums {
            requests: row.get(6)?,
            input_tokens: row.get(7)?,
            output_tokens: row.get(8)?,
            credits: row.get(9)?,
            reversed: row.get(10)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::store::connection;

    #[test]
    fn only_meters_of_the_time_asked_for_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let conn = connection::writer(&folder.path().join("ledger.db")).unwrap();
        let all = [UsageBy::Model, UsageBy::Day, UsageBy::Key, UsageBy::Account];
        for account in [None, Some(AccountId(5))] {
            for groups in 0..=all.len() {
                let by = all[..groups].to_vec();
                let query = UsageQuery { account, from_ms: 0, to_ms: 1, by };
                let mut plan =
                    conn.prepare(&format!("EXPLAIN QUERY PLAN {}", sql(&query))).unwrap();
                let steps = plan.raw_query().mapped(|row| row.get::<_, String>(3));
                let steps: Vec<String> = steps.map(Result::unwrap).collect();
                let meters = "SEARCH m USING INDEX meter_account \
                              (account_id=? AND opened_ms>? AND opened_ms<?)";
                assert!(steps.iter().any(|step| step == meters), "{steps:#?}");
                assert!(!steps.iter().any(|step| step.starts_with("SCAN m")), "{steps:#?}");
                let scans_accounts = steps.iter().any(|step| step == "SCAN a");
                assert_eq!(scans_accounts, account.is_none(), "{steps:#?}");
            }
        }
    }
}
