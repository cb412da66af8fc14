//! Why a plan's limits refuse a request, in words for its caller, and how times are written.
//! Promises: value, bound and remedy; a wait is never shorter than the limit asks for.
//! Never knows: HTTP.

/// The plan allows it, but not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateLimit {
    /// Too many requests in too short a time.
    #[error(
        "this account's plan allows {limit} requests a minute; try again in {}",
        duration(*.wait_ms)
    )]
    Requests {
        /// A minute's worth.
        limit: u32,
        /// Until one is allowed.
        wait_ms: u64,
    },
    /// Too many input tokens in too short a time.
    #[error(
        "this account's plan allows {limit} input tokens a minute; {remaining} are left now and \
         this request has {tokens}; try again in {}",
        duration(*.wait_ms)
    )]
    InputTokens {
        /// A minute's worth.
        limit: u32,
        /// Allowed now.
        remaining: u64,
        /// Tokens of all prompts of the request.
        tokens: u64,
        /// Until they are allowed.
        wait_ms: u64,
    },
    /// Too many requests at the same time.
    #[error(
        "this account's plan allows {limit} requests at the same time, and as many run; try again \
         when one has ended"
    )]
    Concurrent {
        /// Requests at the same time.
        limit: u32,
    },
}

impl RateLimit {
    /// Whole seconds until another try may succeed. At least 1, which clients need, and at most 60:
    /// a minute brings back all of any limit.
    pub(in crate::api) fn retry_after_secs(self) -> u32 {
        let wait_ms = match self {
            Self::Requests { wait_ms, .. } | Self::InputTokens { wait_ms, .. } => wait_ms,
            // When one ends is not known.
            Self::Concurrent { .. } => 0,
        };
        u32::try_from(wait_ms.div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
    }
}

/// The plan never allows it: the request has to be made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptLimit {
    /// One prompt is longer than the plan takes.
    #[error(
        "this account's plan takes prompts of at most {max} tokens, and this one has {tokens}; \
         shorten the prompt"
    )]
    Prompt {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of one prompt.
        max: u32,
    },
    /// All prompts of a request together are more than a minute allows.
    #[error(
        "this account's plan allows {max} input tokens a minute, and this request alone has \
         {tokens}; waiting will not help: send less at once"
    )]
    Minute {
        /// Tokens of all prompts.
        tokens: usize,
        /// A minute's worth.
        max: u32,
    },
}

/// A time as OpenAI's headers write it, which is Go's way: `12ms`, `1s`, `1.5s`, `6m0s`.
pub(super) fn duration(ms: u64) -> String {
    if (1..1_000).contains(&ms) {
        return format!("{ms}ms");
    }
    let (minutes, ms) = (ms / 60_000, ms % 60_000);
    let (secs, ms) = (ms / 1_000, ms % 1_000);
    let fraction = match ms {
        0 => String::new(),
        ms => format!(".{ms:03}").trim_end_matches('0').to_owned(),
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{secs}{fraction}s"),
        (0, minutes) => format!("{minutes}m{secs}{fraction}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{secs}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_does() {
        for (ms, expected) in [
            (0, "0s"),
            (1, "1ms"),
            (12, "12ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (59_001, "59.001s"),
            (60_000, "1m0s"),
            (360_000, "6m0s"),
            (90_020, "1m30.02s"),
            (3_600_000, "1h0m0s"),
            (5_025_000, "1h23m45s"),
        ] {
            assert_eq!(duration(ms), expected, "{ms}");
        }
    }

    #[test]
    fn clients_wait_whole_seconds_and_never_too_short() {
        for (wait_ms, secs) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (60_000, 60)] {
            assert_eq!(RateLimit::Requests { limit: 1, wait_ms }.retry_after_secs(), secs);
        }
        assert_eq!(RateLimit::Concurrent { limit: 1 }.retry_after_secs(), 1);
    }
}
