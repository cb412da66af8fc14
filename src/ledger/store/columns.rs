//! How our types are columns.

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};

use crate::ledger::sales::{RefundId, RefundState, TopupId, TopupState};
use crate::ledger::types::{AccountId, Credits, KeyId, LimitReset, MeterId, MeterState, NoticeId};
use crate::money::Fils;

macro_rules! integer_column {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }
        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_i64().map(Self)
            }
        }
    )*};
}
integer_column!(AccountId, Credits, Fils, KeyId, NoticeId);

macro_rules! word_column {
    ($name:ident: $($variant:ident = $word:literal),*) => {
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(match self { $(Self::$variant => $word),* }.into())
            }
        }
        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(FromSqlError::InvalidType),
                }
            }
        }
    };
}
word_column!(LimitReset: Daily = "daily", Weekly = "weekly", Monthly = "monthly");
word_column!(MeterState: Open = "open", Closed = "closed", Reversed = "reversed");
word_column!(TopupState: Created = "created", Pending = "pending", Paid = "paid",
    Failed = "failed", Expired = "expired", Cancelled = "cancelled");
word_column!(RefundState: Pending = "pending", Done = "done", Failed = "failed");

/// A blob of a known length: ids, hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blob<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> FromSql for Blob<N> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        let wrong_length =
            FromSqlError::InvalidBlobSize { expected_size: N, blob_size: bytes.len() };
        bytes.try_into().map(Self).map_err(|_| wrong_length)
    }
}

macro_rules! id_column {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
            }
        }
        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Blob::column_result(value).map(|Blob(id)| Self(id))
            }
        }
    )*};
}
id_column!(MeterId, RefundId, TopupId);
