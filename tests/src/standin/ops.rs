//! Which ops each version knows. The names are all that is read here: an unknown one makes the parser say which there
//! are, in the same words as the real one's.

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
    /// 0.1.2's.
    Ops012: Status NetworksList PeersList RosterList RosterApprove RosterRemove TopologySet IdentityShow IdentitySetLabel
    NetworkIdGenerate NetworkIdNormalize ConfigShow NetworkAdd NetworkRemove EventsSubscribe GovernanceState
    GovernanceProposeKindChange GovernanceProposeRoleGrant GovernanceProposeRoleRevoke GovernanceSign GovernanceDeny
    GovernanceWithdraw GovernanceSpawnSplit RpcRegister RpcUnregister RpcRespond RpcStreamChunk RpcStreamEnd RpcCall
    RpcCallStream ChannelSubscribe ChannelUnsubscribe ChannelSendTo ChannelSendAll CapabilitiesSet
}

ops! {
    /// 0.3.8's.
    Ops038: Status NetworksList PeersList RosterList RosterApprove RosterRemove TopologySet IdentityShow IdentitySetLabel
    NetworkIdGenerate NetworkIdNormalize ConfigShow NetworkAdd NetworkRemove ForgetAllNetworks FactoryReset NetworkUpdate
    NetworkReconnect NetworkConnectPeer MediaLaneOpen MediaLaneClose ServicesStatus ServicesSet EventsSubscribe
    TraceSubscribe GovernanceState GovernanceProposeKindChange GovernanceProposeRoleGrant GovernanceProposeRoleRevoke
    GovernanceProposeEvict GovernanceProposeTopology GovernanceSign GovernanceDeny GovernanceWithdraw GovernanceSpawnSplit
    GovernanceMfaEnroll GovernanceMfaStatus GovernanceMfaDisable RpcRegister RpcUnregister RpcRespond RpcStreamChunk
    RpcStreamEnd RpcCall RpcCallStream ChannelSubscribe ChannelUnsubscribe ChannelSendTo ChannelSendReliable
    ChannelSendAll CapabilitiesSet VideoSend MediaTrackPipe MediaSourcePipe VideoSubscribe VideoUnsubscribe AudioSend
    AudioSubscribe AudioUnsubscribe UpdateStatus UpdateCheck UpdateApply UpdateSetPrefs
}
