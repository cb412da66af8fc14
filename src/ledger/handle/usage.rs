//! Usage and the request log.

use crate::ledger::{
    BadCursor, GenerationPage, GenerationQuery, Ledger, LedgerError, Usage, UsageError, UsageQuery,
    reader,
};

impl Ledger {
    /// Meters of a time, summed up. Reads each of them: not for a task.
    pub fn usage(&self, query: &UsageQuery) -> Result<Usage, UsageError> {
        let usage = self.inner.readers.read(|conn| reader::usage(conn, query))?;
        usage.ok_or(UsageError::TooManyRows { max: reader::MAX_USAGE_ROWS })
    }

    /// A page of the request log: meters whose stored finish reason, none while open, `ended`
    /// keeps.
    pub fn generations(
        &self,
        query: &GenerationQuery,
        ended: &dyn Fn(Option<&str>) -> bool,
    ) -> Result<Result<GenerationPage, BadCursor>, LedgerError> {
        self.inner.readers.read(|conn| reader::generations(conn, query, ended))
    }
}
