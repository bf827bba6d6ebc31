//! `help.*`: where the data centres are, and a few limits.

use grammers_tl_types as tl;

use super::{Call, object};
use crate::telegram::faults::DoorConduct;
use crate::telegram::ids::Door;
use crate::telegram::rpc::Answer;
use crate::telegram::world::Centre;

/// For how long a client may keep the configuration, in seconds.
const CONFIG_VALID_FOR: i32 = 3600;

/// Every data centre's two addresses, but for hidden ones. The ordinary one is `static`: clients
/// take it over into their sessions.
fn addresses(call: &Call<'_>) -> Vec<tl::enums::DcOption> {
    let option = |centre: &Centre, door: Door| {
        let (address, media_only) = match door {
            Door::Main => (centre.address, false),
            Door::Media => (centre.media_address, true),
        };
        let is_told = call.world.faults.door(centre.id, door) != DoorConduct::Hide;
        is_told.then(|| {
            tl::enums::DcOption::Option(tl::types::DcOption {
                ipv6: false,
                media_only,
                tcpo_only: false,
                cdn: false,
                r#static: !media_only,
                this_port_only: true,
                id: centre.id.0,
                ip_address: address.ip().to_string(),
                port: address.port().into(),
                secret: None,
            })
        })
    };
    let centres = &call.world.centres;
    let main = centres.iter().filter_map(|one| option(one, Door::Main));
    let media = centres.iter().filter_map(|one| option(one, Door::Media));
    main.chain(media).collect()
}

/// `help.getConfig`.
pub(super) fn get_config(call: &Call<'_>) -> Answer {
    let date = call.world.unix_time();
    object(&tl::enums::Config::Config(tl::types::Config {
        default_p2p_contacts: false,
        preload_featured_stickers: false,
        revoke_pm_inbox: false,
        blocked_mode: false,
        force_try_ipv6: false,
        date,
        expires: date.saturating_add(CONFIG_VALID_FOR),
        test_mode: false,
        this_dc: call.centre.id.0,
        dc_options: addresses(call),
        dc_txt_domain_name: String::new(),
        chat_size_max: 200,
        megagroup_size_max: 200_000,
        forwarded_count_max: 100,
        online_update_period_ms: 210_000,
        offline_blur_timeout_ms: 5000,
        offline_idle_timeout_ms: 30_000,
        online_cloud_timeout_ms: 300_000,
        notify_cloud_delay_ms: 30_000,
        notify_default_delay_ms: 1500,
        push_chat_period_ms: 60_000,
        push_chat_limit: 2,
        edit_time_limit: 172_800,
        revoke_time_limit: i32::MAX,
        revoke_pm_time_limit: i32::MAX,
        rating_e_decay: 2_419_200,
        stickers_recent_limit: 200,
        channels_read_media_period: 604_800,
        tmp_sessions: None,
        call_receive_timeout_ms: 20_000,
        call_ring_timeout_ms: 90_000,
        call_connect_timeout_ms: 30_000,
        call_packet_timeout_ms: 10_000,
        me_url_prefix: "https://t.me/".to_owned(),
        autoupdate_url_prefix: None,
        gif_search_username: None,
        venue_search_username: None,
        img_search_username: None,
        static_maps_provider: None,
        caption_length_max: 1024,
        message_length_max: 4096,
        webfile_dc_id: call.world.home.0,
        suggested_lang_code: None,
        lang_pack_version: None,
        base_lang_pack_version: None,
        reactions_default: None,
        autologin_token: None,
    }))
}

/// `help.getNearestDc`.
pub(super) fn get_nearest_dc(call: &Call<'_>) -> Answer {
    object(&tl::enums::NearestDc::Dc(tl::types::NearestDc {
        country: "DE".to_owned(),
        this_dc: call.centre.id.0,
        nearest_dc: call.world.home.0,
    }))
}

/// `help.getAppConfig`: how many files may be fetched at once.
pub(super) fn get_app_config() -> Answer {
    let value = |key: &str, value: f64| {
        tl::enums::JsonobjectValue::JsonObjectValue(tl::types::JsonObjectValue {
            key: key.to_owned(),
            value: tl::enums::Jsonvalue::JsonNumber(tl::types::JsonNumber { value }),
        })
    };
    object(&tl::enums::help::AppConfig::Config(
        tl::types::help::AppConfig {
            hash: 1,
            config: tl::enums::Jsonvalue::JsonObject(tl::types::JsonObject {
                value: vec![
                    value("small_queue_max_active_operations_count", 5.0),
                    value("large_queue_max_active_operations_count", 2.0),
                ],
            }),
        },
    ))
}
