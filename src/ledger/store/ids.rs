//! Where the ids are that were paid for: the last ones beside their meter, those before them in
//! rows of `charge`. So a charge changes one row, not two, and none that is far from the others.
//!
//! Promises: ids are stored by the statement that takes the credits for them; what leaves the meter
//! is in `charge`.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::exactly_one;
use crate::ledger::types::MeterId;

/// Bytes of the last ids, at most: longer rows cost each charge more, shorter ones more rows.
const MAX_LAST: usize = 64 * size_of::<u32>();

/// A meter's `last_choice` and `last_ids`.
#[derive(Debug)]
pub(super) struct LastIds {
    pub(super) choice: u32,
    pub(super) ids: Vec<u8>,
}

impl LastIds {
    /// Adds what a charge pays for. The meter's row is to be updated with what it is then; after
    /// that comes [`LastIds::store_rest`] with what is returned.
    pub(super) fn add(
        &mut self,
        conn: &Connection,
        meter: MeterId,
        choice: u32,
        groups: &[Vec<u32>],
    ) -> rusqlite::Result<Rest> {
        let added = groups.iter().map(Vec::len).sum::<usize>() * size_of::<u32>();
        if choice != self.choice || self.ids.len() + added > MAX_LAST {
            if !self.ids.is_empty() {
                insert(conn, meter, self.choice, &self.ids)?;
                self.ids.clear();
            }
            self.choice = choice;
        }
        let ids = groups.iter().flatten().flat_map(|id| id.to_le_bytes());
        if added > MAX_LAST {
            return Ok(Rest(ids.collect()));
        }
        self.ids.extend(ids);
        Ok(Rest(Vec::new()))
    }

    /// Stores ids that are too many to be beside the meter.
    pub(super) fn store_rest(
        &self,
        conn: &Connection,
        meter: MeterId,
        Rest(ids): &Rest,
    ) -> rusqlite::Result<()> {
        if ids.is_empty() { Ok(()) } else { insert(conn, meter, self.choice, ids) }
    }
}

/// Ids of a charge that get a row of their own; mostly none.
#[derive(Debug)]
#[must_use = "they are paid for"]
pub(super) struct Rest(Vec<u8>);

fn insert(conn: &Connection, meter: MeterId, choice: u32, ids: &[u8]) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO charge(meter_id,n,choice,token_ids)
         SELECT ?1,coalesce(max(n)+1,0),?2,?3 FROM charge WHERE meter_id=?1",
    )?
    .execute(params![meter, choice, ids])
    .and_then(exactly_one)
}

/// Copies the last ids of a meter that is about to close to where they stay.
pub(super) fn store_last(conn: &Connection, meter: MeterId) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO charge(meter_id,n,choice,token_ids)
         SELECT id,(SELECT coalesce(max(n)+1,0) FROM charge WHERE meter_id=?1),last_choice,last_ids
         FROM meter WHERE id=?1 AND length(last_ids)>0",
    )?
    .execute([meter])
    .map(drop)
}

/// A meter's stored ids by choice, as the little-endian u32 bytes they are stored in.
pub(crate) fn ids_by_choice(
    conn: &Connection,
    meter: MeterId,
) -> rusqlite::Result<BTreeMap<u32, Vec<u8>>> {
    let mut choices: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for sql in [
        "SELECT choice,token_ids FROM charge WHERE meter_id=?1 ORDER BY n",
        "SELECT last_choice,last_ids FROM meter WHERE id=?1 AND length(last_ids)>0",
    ] {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query([meter])?;
        while let Some(row) = rows.next()? {
            let ids = row.get_ref(1)?.as_blob()?;
            choices.entry(row.get(0)?).or_default().extend_from_slice(ids);
        }
    }
    Ok(choices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Credits, Ledger, LedgerOptions, MeterRequest, NewKeyRequest};

    /// A choice, and how many ids.
    type Run = (u32, u32);

    /// Rows of `charge`, and what is beside the meter.
    fn stored(conn: &Connection, meter: MeterId) -> Vec<Run> {
        let sql = "SELECT choice,length(token_ids)/4 FROM charge WHERE meter_id=?1
             UNION ALL SELECT last_choice,length(last_ids)/4 FROM meter WHERE id=?1";
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([meter], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn ids_stay_beside_their_meter_until_they_are_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
        let account = ledger.create_account("alice", "default", "test").wait().unwrap();
        ledger.grant(account, Credits(1_000), "why", "test").wait().unwrap();
        let key = ledger.create_key(NewKeyRequest::new(account, "key"), "test").wait().unwrap().id;
        let request = MeterRequest {
            account,
            key,
            model: "model".to_owned(),
            model_digest: [0; 32],
            credits_per_token: 1,
            streamed: true,
            input_tokens: 1,
            idempotency_key: None,
            body_hash: [0; 32],
        };
        let meter = ledger.open_meter(request).wait().unwrap();
        let conn = Connection::open(&path).unwrap();
        let mut told: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut next_id = 0;
        // What is charged, and what is stored then.
        let charges: [(Run, &[Run]); 8] = [
            ((0, 1), &[(0, 1)]),
            ((0, 63), &[(0, 64)]),
            ((0, 1), &[(0, 64), (0, 1)]),
            ((2, 2), &[(0, 64), (0, 1), (2, 2)]),
            ((2, 3), &[(0, 64), (0, 1), (2, 5)]),
            ((2, 65), &[(0, 64), (0, 1), (2, 5), (2, 65), (2, 0)]),
            ((1, 70), &[(0, 64), (0, 1), (2, 5), (2, 65), (1, 70), (1, 0)]),
            ((0, 4), &[(0, 64), (0, 1), (2, 5), (2, 65), (1, 70), (0, 4)]),
        ];
        for (number, ((choice, count), expected)) in charges.into_iter().enumerate() {
            // Each other time, nothing is remembered.
            if number % 2 == 1 {
                ledger.set_plan(account, "default", "test").wait().unwrap();
            }
            let ids: Vec<u32> = (next_id..next_id + count).collect();
            next_id += count;
            told.entry(choice).or_default().extend(&ids);
            ledger.charge(meter, choice, vec![ids]).wait().unwrap();
            assert_eq!(stored(&conn, meter), expected, "{number}");
            let record = ledger.generation(account, meter).unwrap().unwrap();
            assert_eq!(record.token_ids, Some(told.clone()), "{number}");
            assert!(ledger.verify().unwrap().is_ok(), "{number}");
        }
        ledger.close_meter(meter, "stop").wait().unwrap();
        let record = ledger.generation(account, meter).unwrap().unwrap();
        assert_eq!(record.token_ids, Some(told));
        assert_eq!(stored(&conn, meter).len(), 7);
        assert_eq!(stored(&conn, meter).last(), Some(&(0, 0)));
        assert!(ledger.verify().unwrap().is_ok());
    }
}
