//! What was refused, counted by its cause. A refusal harms nothing but what was refused.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the causes once, as counters and as what they read.
macro_rules! causes {
    ($($(#[$doc:meta])* $cause:ident => $field:ident,)*) => {
        /// How often an endpoint has refused something since it was opened, by cause.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Refused {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Refused {
            /// All causes together.
            pub fn total(&self) -> u64 {
                0 $(+ self.$field)*
            }
        }

        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Cause {
            $($cause,)*
        }

        /// The counters behind [`Refused`].
        #[derive(Debug, Default)]
        pub(super) struct Refusals {
            $($field: AtomicU64,)*
        }

        impl Refusals {
            pub(super) fn count(&self, cause: Cause) {
                let counter = match cause {
                    $(Cause::$cause => &self.$field,)*
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }

            pub(super) fn read(&self) -> Refused {
                Refused {
                    $($field: self.$field.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

causes! {
    /// Callers that showed no certificate.
    NoCertificate => no_certificate,
    /// Certificates, of callers and of nodes that were called, that the cluster's authority has not signed, or not for this
    /// use, or that have expired.
    ForeignCertificate => foreign_certificate,
    /// Certificates that the authority has signed, with a name that is none of this cluster's.
    ForeignName => foreign_name,
    /// Nodes that were called by an id and showed the certificate of another.
    WrongNode => wrong_node,
    /// Connections on which the two ends have no protocol in common, at either end.
    WrongProtocol => wrong_protocol,
    /// Handshakes that broke off in any other way: they took too long, or said what no honest caller says.
    BrokenHandshake => broken_handshake,
    /// Connections that came while too many handshakes were under way.
    HandshakesPending => handshakes_pending,
    /// Connections of clients beyond the bound.
    TooManyConnections => too_many_connections,
    /// Frames beyond the bound, refused before anything was allocated.
    OversizedFrame => oversized_frame,
    /// Frames that are damaged, cut off, made up, or say what no honest node says.
    MalformedFrame => malformed_frame,
    /// Frames of another cluster.
    WrongCluster => wrong_cluster,
    /// Frames that name another sender than the node whose connection they came on.
    WrongSender => wrong_sender,
    /// Frames that were in order and found no room: too many waited to be stepped.
    InboxFull => inbox_full,
    /// Requests beyond the bound, or cut off.
    MalformedRequest => malformed_request,
}
