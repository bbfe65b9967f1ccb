//! Typed numbers: a client's number is no exchange's number.

/// Declares newtypes over `u32` that name records of one kind.
#[macro_export]
macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The record's place in its table.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

typed_ids! {
    /// A worker thread, counted from 0.
    WorkerId;
    /// A listening address, in the order of the configuration.
    ListenerId;
    /// A group of upstream servers, in the order of the configuration.
    GroupId;
    /// A server, counted over all groups.
    ServerId;
    /// A record in a worker's table of clients.
    ClientId;
    /// A record in a worker's table of exchanges.
    ExchangeId;
    /// A record in a worker's table of tunnels.
    TunnelId;
    /// A record in a worker's table of upstream connections.
    ConnectionId;
}
