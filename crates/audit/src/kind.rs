//! What an event can be about. A kind is never renamed: old logs keep it for ever.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*

        /// Every kind.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

kinds! {
    /// An operation was permitted.
    OPERATION_PERMITTED = "operation.permitted";
    /// An operation was denied.
    OPERATION_DENIED = "operation.denied";
    /// An operation was held for approval.
    OPERATION_HELD = "operation.held";
    /// A permitted operation ran.
    OPERATION_EXECUTED = "operation.executed";
    /// A permitted operation failed.
    OPERATION_FAILED = "operation.failed";
    /// It is not known whether a permitted operation ran.
    OPERATION_OUTCOME_UNKNOWN = "operation.outcome_unknown";

    /// A grant was signed.
    GRANT_ISSUED = "grant.issued";
    /// A use of a grant was consumed, before its operation was forwarded (I2).
    GRANT_CONSUMED = "grant.consumed";
    /// A grant was refused by its sidecar.
    GRANT_REFUSED = "grant.refused";

    /// An agent asked for more than people are asked at a time. Once for as long as it goes on.
    REQUESTS_REFUSED = "requests.refused";
    /// What it asks is put to people again.
    REQUESTS_RESUMED = "requests.resumed";

    /// An approval was asked for.
    APPROVAL_REQUESTED = "approval.requested";
    /// A person voted.
    APPROVAL_VOTED = "approval.voted";
    /// The next stage of reviewers is asked: all before are met.
    APPROVAL_STAGE_OPENED = "approval.stage_opened";
    /// Somebody approved alone in an emergency, as policy lets them.
    APPROVAL_GLASS_BROKEN = "approval.glass_broken";
    /// Somebody else reviewed what was approved alone.
    APPROVAL_GLASS_REVIEWED = "approval.glass_reviewed";
    /// Somebody who may read a request said something about it. It counts for nothing.
    APPROVAL_COMMENTED = "approval.commented";
    /// Nobody decided for some time, so more people may.
    APPROVAL_ESCALATED = "approval.escalated";
    /// Every requirement was met.
    APPROVAL_APPROVED = "approval.approved";
    /// An eligible person said no.
    APPROVAL_DENIED = "approval.denied";
    /// Nobody decided in time.
    APPROVAL_EXPIRED = "approval.expired";
    /// The request was given up.
    APPROVAL_CANCELLED = "approval.cancelled";
    /// A reviewer changed its arguments, which ends it.
    APPROVAL_EDITED = "approval.edited";
    /// Approved, but not started in time.
    APPROVAL_LAPSED = "approval.lapsed";
    /// Taken back.
    APPROVAL_REVOKED = "approval.revoked";
    /// Policy or the tool changed.
    APPROVAL_INVALIDATED = "approval.invalidated";
    /// The sidecar claimed a use.
    APPROVAL_CLAIMED = "approval.claimed";
    /// The sidecar reported how a use ended.
    APPROVAL_FINISHED = "approval.finished";

    /// An agent was added.
    AGENT_ADDED = "agent.added";
    /// A sidecar enrolled.
    AGENT_ENROLLED = "agent.enrolled";
    /// A sidecar renewed its certificate.
    AGENT_RENEWED = "agent.renewed";
    /// A sidecar connected.
    AGENT_CONNECTED = "agent.connected";
    /// A sidecar disconnected.
    AGENT_DISCONNECTED = "agent.disconnected";
    /// An agent was revoked.
    AGENT_REVOKED = "agent.revoked";

    /// A bundle was stored as a new revision.
    POLICY_PUSHED = "policy.pushed";
    /// A bundle came into force.
    POLICY_ACTIVATED = "policy.activated";
    /// An earlier bundle was made current again.
    POLICY_ROLLED_BACK = "policy.rolled_back";
    /// A bundle was refused.
    POLICY_REFUSED = "policy.refused";

    /// An API token was made.
    TOKEN_CREATED = "token.created";
    /// An API token was revoked.
    TOKEN_REVOKED = "token.revoked";

    /// A channel does not work.
    CHANNEL_DEGRADED = "channel.degraded";
    /// A channel works again.
    CHANNEL_RECOVERED = "channel.recovered";
    /// A message was given up that a channel would not take.
    CHANNEL_GAVE_UP = "channel.gave_up";
    /// Somebody sent a test message through a channel.
    CHANNEL_TESTED = "channel.tested";

    /// A local person was added, or their roles or groups changed.
    PERSON_CHANGED = "person.changed";
    /// A reviewer named a stand-in for a time.
    DELEGATION_CREATED = "delegation.created";
    /// A stand-in was taken back.
    DELEGATION_REVOKED = "delegation.revoked";
    /// A person signed in.
    SESSION_SIGNED_IN = "session.signed_in";
    /// A person signed out.
    SESSION_SIGNED_OUT = "session.signed_out";
    /// A sign-in was refused.
    SESSION_REFUSED = "session.refused";

    /// A session was ended by somebody else than whoever uses it: its person elsewhere, an admin, the provider.
    SESSION_ENDED = "session.ended";

    /// A link was made for an account in a chat, for its person to open.
    ACCOUNT_LINK_CREATED = "account.link_created";
    /// An account elsewhere became a person's.
    ACCOUNT_LINKED = "account.linked";
    /// An account elsewhere was taken from its person.
    ACCOUNT_UNLINKED = "account.unlinked";

    /// A person added a passkey.
    PASSKEY_ADDED = "passkey.added";
    /// A passkey was removed, by its person or by an admin.
    PASSKEY_REMOVED = "passkey.removed";
    /// A passkey signed something, which stands in the event for anyone to check.
    PASSKEY_USED = "passkey.used";
    /// A passkey's counter went back, so that it may have been copied. Nothing was accepted from it.
    PASSKEY_REFUSED = "passkey.refused";

    /// A source's sequence has a gap or a change (I8).
    LEDGER_GAP = "ledger.gap";
    /// A checkpoint was signed.
    LEDGER_CHECKPOINT = "ledger.checkpoint";

    /// The control plane started.
    CONTROL_STARTED = "control.started";
    /// A sidecar started.
    SIDECAR_STARTED = "sidecar.started";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;
    use crate::event::is_kind;

    #[test]
    fn every_kind_is_well_formed_and_there_is_one_of_each() {
        assert!(ALL.iter().all(|kind| is_kind(kind)));
        assert_eq!(ALL.iter().collect::<BTreeSet<_>>().len(), ALL.len());
    }
}
