//! The answers anteroom gives itself, instead of the server's.

use wire::http1::Fault;

/// Why a request gets no answer from the server, and so one from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: the head or the framing is malformed or ambiguous.
    Malformed,
    /// 505: a version other than HTTP/1.x.
    Version,
    /// 501: CONNECT, or a transfer coding we do not know.
    Unsupported,
    /// 414: the target is longer than `max_target`.
    TargetTooLong,
    /// 421: the target's scheme is not the connection's (RFC 9110 §7.4).
    Misdirected,
    /// 431: the head is larger than `max_head`, or has too many fields.
    HeadTooLarge,
    /// 413: the body is larger than `max_body`, or than memory and spool hold of one exchange.
    BodyTooLarge,
    /// 408: the request did not arrive in time.
    Slow,
    /// 408: the pool ran short and this request was the slowest to arrive.
    Pressure,
    /// 502: the server refused the connection or could not be reached.
    Unreachable,
    /// 502: the server broke off, or answered what is no HTTP response.
    BadResponse,
    /// 503: the ready queue is full.
    QueueFull,
    /// 503: no lease became free in time.
    QueueTimeout,
    /// 503: `max_clients` are here, or no buffer became free for a first byte.
    Crowded,
    /// 503: the worker stops before the request could be served.
    Stopping,
    /// 504: the server stayed silent.
    Silent,
    /// 507: the request does not fit into memory, and the spool is full or fails.
    Storage,
    /// 503: the response is an event stream or switches protocols, and as many of those as may be
    /// run already.
    PinnedFull,
    /// 429: more requests come from the client's address than may (`limits.request_rate`).
    Rate,
    /// 403: a trusted proxy names a client that may not connect.
    Unwelcome,
    /// 401: the request has no credentials where some are asked for.
    NoCredentials,
    /// 401: its credentials are not right, or were once.
    BadCredentials,
    /// 403: the client showed no certificate, or not the right one, or whoever is asked says no.
    Forbidden,
    /// 302: whoever is asked sends the client elsewhere.
    Redirected,
    /// 503: as many questions as may be are under way.
    AuthorizerFull,
    /// 503: whoever is asked cannot be asked, does not answer in time, or says what makes no sense.
    AuthorizerFailed,
}

impl Refusal {
    /// Every refusal, in the order of their counters.
    pub const ALL: [Self; 26] = [
        Self::Malformed,
        Self::Version,
        Self::Unsupported,
        Self::TargetTooLong,
        Self::Misdirected,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::Slow,
        Self::Pressure,
        Self::Unreachable,
        Self::BadResponse,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::Crowded,
        Self::Stopping,
        Self::Silent,
        Self::Storage,
        Self::PinnedFull,
        Self::Rate,
        Self::Unwelcome,
        Self::NoCredentials,
        Self::BadCredentials,
        Self::Forbidden,
        Self::Redirected,
        Self::AuthorizerFull,
        Self::AuthorizerFailed,
    ];

    /// The status code (RFC 9110 §15).
    pub const fn status(self) -> u16 {
        match self {
            Self::Redirected => 302,
            Self::Malformed => 400,
            Self::NoCredentials | Self::BadCredentials => 401,
            Self::Unwelcome | Self::Forbidden => 403,
            Self::Slow | Self::Pressure => 408,
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::Misdirected => 421,
            Self::Rate => 429,
            Self::HeadTooLarge => 431,
            Self::Unsupported => 501,
            Self::Unreachable | Self::BadResponse => 502,
            Self::QueueFull
            | Self::QueueTimeout
            | Self::Crowded
            | Self::Stopping
            | Self::PinnedFull
            | Self::AuthorizerFull
            | Self::AuthorizerFailed => 503,
            Self::Silent => 504,
            Self::Version => 505,
            Self::Storage => 507,
        }
    }

    /// The label in `anteroom_refusals_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Unsupported => "unsupported",
            Self::TargetTooLong => "target_too_long",
            Self::Misdirected => "misdirected",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::Slow => "slow",
            Self::Pressure => "pressure",
            Self::Unreachable => "unreachable",
            Self::BadResponse => "bad_response",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Crowded => "crowded",
            Self::Stopping => "stopping",
            Self::Silent => "silent",
            Self::Storage => "storage",
            Self::PinnedFull => "pinned_full",
            Self::Rate => "rate",
            Self::Unwelcome => "unwelcome",
            Self::NoCredentials => "no_credentials",
            Self::BadCredentials => "bad_credentials",
            Self::Forbidden => "forbidden",
            Self::Redirected => "redirected",
            Self::AuthorizerFull => "authorizer_full",
            Self::AuthorizerFailed => "authorizer_failed",
        }
    }

    /// What the body of the answer says: whose fault it is, in a few words.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Malformed => "the request is malformed",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::Unsupported => "the method or transfer coding is not supported",
            Self::TargetTooLong => "the request target is too long",
            Self::Misdirected => "the request is for another server",
            Self::HeadTooLarge => "the request head is too large",
            Self::BodyTooLarge => "the request body is too large",
            Self::Slow => "the request did not arrive in time",
            Self::Pressure => "the request arrived too slowly while memory was short",
            Self::Unreachable => "the server cannot be reached",
            Self::BadResponse => "the server gave no valid response",
            Self::QueueFull => "too many requests are waiting for the server",
            Self::QueueTimeout => "the server was too busy for too long",
            Self::Crowded => "too many clients are here",
            Self::Stopping => "the proxy is stopping",
            Self::Silent => "the server did not answer in time",
            Self::Storage => "there is no room to store the request",
            Self::Rate => "too many requests come from this address",
            Self::Unwelcome => "this address may not connect",
            Self::NoCredentials => "this needs credentials",
            Self::BadCredentials => "the credentials are not accepted",
            Self::Forbidden => "this is not for you",
            Self::Redirected => "see the place that Location names",
            Self::AuthorizerFull => "too many requests wait to be let in",
            Self::AuthorizerFailed => "it cannot be found out whether you may",
            Self::PinnedFull => "too many event streams and tunnels are running",
        }
    }

    /// Seconds after which trying again makes sense (`Retry-After`, RFC 9110 §10.2.3).
    pub const fn retry_after(self) -> Option<u32> {
        match self.status() {
            429 | 503 => Some(1),
            _ => None,
        }
    }

    /// Whether the request may have been read to its end all the same, so that the connection may carry
    /// another one (RFC 9112 §9.3).
    pub const fn keeps_framing(self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::BadResponse
                | Self::QueueFull
                | Self::QueueTimeout
                | Self::Silent
                | Self::PinnedFull
                | Self::Rate
                | Self::Unwelcome
        ) || self.is_of_authorization()
    }

    /// Whether the request was not let in, or could not be.
    pub const fn is_of_authorization(self) -> bool {
        matches!(
            self,
            Self::NoCredentials
                | Self::BadCredentials
                | Self::Forbidden
                | Self::Redirected
                | Self::AuthorizerFull
                | Self::AuthorizerFailed
        )
    }
}

impl From<Fault> for Refusal {
    /// What a client's fault is answered with.
    fn from(fault: Fault) -> Self {
        match fault.status() {
            414 => Self::TargetTooLong,
            421 => Self::Misdirected,
            431 => Self::HeadTooLarge,
            501 => Self::Unsupported,
            505 => Self::Version,
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_stands_at_its_own_counter_and_says_when_to_come_again() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index, "{}", refusal.label());
            assert_eq!(refusal.retry_after().is_some(), matches!(refusal.status(), 429 | 503));
            let words = refusal.label().split('_');
            assert!(words.clone().all(|word| word.chars().all(|c| c.is_ascii_lowercase())));
            assert!(words.clone().all(|word| !word.is_empty()));
            let others = Refusal::ALL.into_iter().filter(|other| other.label() == refusal.label());
            assert_eq!(others.count(), 1, "{} is told of one", refusal.label());
        }
    }

    #[test]
    fn those_of_authorization_are_what_it_answers_with() {
        for refusal in Refusal::ALL {
            let own = [401, 403, 302].contains(&refusal.status()) && refusal != Refusal::Unwelcome;
            let failed = matches!(refusal, Refusal::AuthorizerFull | Refusal::AuthorizerFailed);
            assert_eq!(refusal.is_of_authorization(), own || failed, "{}", refusal.label());
        }
    }

    #[test]
    fn a_fault_is_answered_with_its_own_status() {
        for fault in [
            Fault::HeadTooLarge,
            Fault::TargetTooLong,
            Fault::SchemeMisdirected,
            Fault::CodingUnknown,
            Fault::VersionNotSupported,
        ] {
            assert_eq!(Refusal::from(fault).status(), fault.status(), "{fault:?}");
        }
    }
}
