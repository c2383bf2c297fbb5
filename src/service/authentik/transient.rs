//! Tables whose rows may be left out of a dump: nothing in them is of use once the service was restored.
//!
//! Without them everybody logs in again, and so does every application that holds a refresh token; what workers had in their
//! queues is queued again by their schedules.

/// Sessions and what was given out for them, messages between servers, tasks and their logs, the cache.
///
/// Where a table that is kept refers to one of these, its rows are kept too: else the restored keys would lead nowhere.
pub const TRANSIENT: [&str; 17] = [
    "django_session",
    "authentik_core_session",
    "authentik_core_authenticatedsession",
    "authentik_providers_oauth2_accesstoken",
    "authentik_providers_oauth2_refreshtoken",
    "authentik_providers_oauth2_authorizationcode",
    "authentik_providers_oauth2_devicetoken",
    "authentik_providers_proxy_proxysession",
    "authentik_providers_rac_connectiontoken",
    "authentik_providers_saml_samlsession",
    "django_channels_postgres_message",
    "django_channels_postgres_groupchannel",
    "authentik_tasks_task",
    "authentik_tasks_tasklog",
    "authentik_tasks_workerstatus",
    "authentik_events_systemtask",
    "django_postgres_cache_cacheentry",
];
