//! The ops of each version. Only the names are parsed here: for an unknown op the parser lists the
//! known ones, in the same words as the real daemon.

use serde::Deserialize;

macro_rules! ops {
    ($(#[$meta:meta])* $name:ident: $($op:ident)*) => {
        $(#[$meta])*
        #[derive(Debug, Deserialize)]
        #[serde(tag = "op", rename_all = "snake_case")]
        pub(crate) enum $name { $($op),* }
    };
}

ops! {
    /// The ops of 0.1.2.
    Ops012:
        Status NetworksList PeersList RosterList RosterApprove RosterRemove TopologySet IdentityShow
        IdentitySetLabel NetworkIdGenerate NetworkIdNormalize ConfigShow NetworkAdd NetworkRemove
        EventsSubscribe GovernanceState GovernanceProposeKindChange GovernanceProposeRoleGrant
        GovernanceProposeRoleRevoke GovernanceSign GovernanceDeny GovernanceWithdraw
        GovernanceSpawnSplit RpcRegister RpcUnregister RpcRespond RpcStreamChunk RpcStreamEnd
        RpcCall RpcCallStream ChannelSubscribe ChannelUnsubscribe ChannelSendTo ChannelSendAll
        CapabilitiesSet
}

ops! {
    /// The ops of 0.3.8.
    Ops038:
        Status NetworksList PeersList RosterList RosterApprove RosterRemove TopologySet IdentityShow
        IdentitySetLabel NetworkIdGenerate NetworkIdNormalize ConfigShow NetworkAdd NetworkRemove
        ForgetAllNetworks FactoryReset NetworkUpdate NetworkReconnect NetworkConnectPeer
        MediaLaneOpen MediaLaneClose ServicesStatus ServicesSet EventsSubscribe TraceSubscribe
        GovernanceState GovernanceProposeKindChange GovernanceProposeRoleGrant
        GovernanceProposeRoleRevoke GovernanceProposeEvict GovernanceProposeTopology GovernanceSign
        GovernanceDeny GovernanceWithdraw GovernanceSpawnSplit GovernanceMfaEnroll
        GovernanceMfaStatus GovernanceMfaDisable RpcRegister RpcUnregister RpcRespond RpcStreamChunk
        RpcStreamEnd RpcCall RpcCallStream ChannelSubscribe ChannelUnsubscribe ChannelSendTo
        ChannelSendReliable ChannelSendAll CapabilitiesSet VideoSend MediaTrackPipe MediaSourcePipe
        VideoSubscribe VideoUnsubscribe AudioSend AudioSubscribe AudioUnsubscribe UpdateStatus
        UpdateCheck UpdateApply UpdateSetPrefs
}
