//! `auth.*` and `account.getPassword`: signing in, and carrying that to other data centres.
//!
//! There are two accounts: the bot signs in by its token, the user by phone, code and, if there
//! is one, password.

use aws_lc_rs::rand;
use grammers_tl_types as tl;
use tl::enums::InputCheckPasswordSrp;
use tl::enums::auth::SentCodeType;

use super::{Answered, Call, Known, object};
use crate::content::hex;
use crate::telegram::ids::{DcId, Identity};
use crate::telegram::journal::Fact;
use crate::telegram::layer::{self, Layer};
use crate::telegram::rpc::{Answer, RpcError};
use crate::telegram::srp::{GENERATOR, Verifier};

/// `auth.exportAuthorization`.
pub(super) fn export_authorization(
    known: &Known<'_>,
    method: &tl::functions::auth::ExportAuthorization,
) -> Answered {
    let world = known.call.world;
    let to = DcId(method.dc_id);
    let exists = world.centres.iter().any(|centre| centre.id == to);
    if !exists || to == known.call.centre.id {
        return Err(RpcError::bad("DC_ID_INVALID"));
    }
    let id = world.accounts.id(known.who);
    Ok(object(
        &tl::enums::auth::ExportedAuthorization::Authorization(
            tl::types::auth::ExportedAuthorization {
                id,
                bytes: world.secret.authorization(known.who, to, id),
            },
        ),
    ))
}

/// `auth.importAuthorization`.
pub(super) fn import_authorization(
    call: &Call<'_>,
    layer: Layer,
    method: &tl::functions::auth::ImportAuthorization,
) -> Answered {
    let here = call.centre.id;
    let exported = |who| call.world.secret.authorization(who, here, method.id);
    let who = Identity::ALL
        .into_iter()
        .find(|who| call.world.accounts.id(*who) == method.id && exported(*who) == method.bytes);
    sign_in_as(call, layer, who.ok_or(RpcError::bad("AUTH_BYTES_INVALID"))?)
}

/// `auth.importBotAuthorization`.
pub(super) fn import_bot_authorization(
    call: &Call<'_>,
    layer: Layer,
    method: &tl::functions::auth::ImportBotAuthorization,
) -> Answered {
    if method.bot_auth_token != call.world.accounts.bot_token {
        return Err(RpcError::bad("ACCESS_TOKEN_INVALID"));
    }
    if call.centre.id != call.world.home {
        return Err(RpcError::migrate("USER", call.world.home));
    }
    sign_in_as(call, layer, Identity::Bot)
}

/// `auth.sendCode`. The code arrives nowhere: it is the one the stand-in was started with.
pub(super) fn send_code(call: &Call<'_>, method: &tl::functions::auth::SendCode) -> Answered {
    check_phone(call, &method.phone_number)?;
    if call.centre.id != call.world.home {
        return Err(RpcError::migrate("PHONE", call.world.home));
    }
    let length = i32::try_from(call.world.accounts.login_code.len()).unwrap_or(i32::MAX);
    Ok(object(&tl::enums::auth::SentCode::Code(
        tl::types::auth::SentCode {
            r#type: SentCodeType::App(tl::types::auth::SentCodeTypeApp { length }),
            phone_code_hash: phone_code_hash(call),
            next_type: None,
            timeout: None,
        },
    )))
}

/// `auth.signIn`.
pub(super) fn sign_in(
    call: &Call<'_>,
    layer: Layer,
    method: &tl::functions::auth::SignIn,
) -> Answered {
    check_phone(call, &method.phone_number)?;
    if method.phone_code_hash != phone_code_hash(call) {
        return Err(RpcError::bad("PHONE_CODE_EXPIRED"));
    }
    if method.phone_code.as_ref() != Some(&call.world.accounts.login_code) {
        return Err(RpcError::bad("PHONE_CODE_INVALID"));
    }
    if call.world.accounts.password.is_some() {
        call.key.set_owes_password(Identity::User);
        return Err(RpcError::unauthorized("SESSION_PASSWORD_NEEDED"));
    }
    sign_in_as(call, layer, Identity::User)
}

/// `account.getPassword`: the challenge to prove the password by.
pub(super) fn get_password(call: &Call<'_>) -> Answered {
    if call.key.owner().or(call.key.owes_password()).is_none() {
        return Err(RpcError::unauthorized("AUTH_KEY_UNREGISTERED"));
    }
    let mut random = [0; 40];
    rand::fill(&mut random).expect("the system has random numbers");
    let (srp_id, secure_random) = random.split_at(8);
    let srp_id = i64::from_le_bytes(srp_id.try_into().expect("8 bytes"));
    let verifier = call.world.accounts.password.as_ref();
    Ok(object(&tl::enums::account::Password::Password(
        tl::types::account::Password {
            has_recovery: false,
            has_secure_values: false,
            has_password: verifier.is_some(),
            current_algo: verifier.map(algorithm),
            srp_b: verifier.map(|verifier| verifier.challenge(srp_id).to_vec()),
            srp_id: verifier.map(|_| srp_id),
            hint: None,
            email_unconfirmed_pattern: None,
            new_algo: tl::enums::PasswordKdfAlgo::Unknown,
            new_secure_algo: tl::enums::SecurePasswordKdfAlgo::Unknown,
            secure_random: secure_random.to_vec(),
            pending_reset_date: None,
            login_email_pattern: None,
        },
    )))
}

fn algorithm(verifier: &Verifier) -> tl::enums::PasswordKdfAlgo {
    tl::types::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow {
        salt1: verifier.salt1.to_vec(),
        salt2: verifier.salt2.to_vec(),
        g: GENERATOR,
        p: verifier.prime().to_vec(),
    }
    .into()
}

/// `auth.checkPassword`.
pub(super) fn check_password(
    call: &Call<'_>,
    layer: Layer,
    method: &tl::functions::auth::CheckPassword,
) -> Answered {
    let who = call.key.owes_password();
    let who = who.ok_or(RpcError::unauthorized("AUTH_KEY_UNREGISTERED"))?;
    let (InputCheckPasswordSrp::Srp(proof), Some(verifier)) =
        (&method.password, &call.world.accounts.password)
    else {
        return Err(RpcError::bad("PASSWORD_HASH_INVALID"));
    };
    if !verifier.check(proof.srp_id, &proof.a, &proof.m1) {
        return Err(RpcError::bad("PASSWORD_HASH_INVALID"));
    }
    sign_in_as(call, layer, who)
}

fn check_phone(call: &Call<'_>, phone: &str) -> Result<(), RpcError> {
    let digits = |phone: &str| {
        phone
            .chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    if digits(phone) == digits(&call.world.accounts.phone) {
        Ok(())
    } else {
        Err(RpcError::bad("PHONE_NUMBER_INVALID"))
    }
}

/// Ties a code to the key it was sent for.
fn phone_code_hash(call: &Call<'_>) -> String {
    let key_id = i64::from_le_bytes(call.key.shared.id().to_bytes());
    let hash = call
        .world
        .secret
        .authorization(Identity::User, call.centre.id, key_id);
    hex(&hash[..9])
}

fn sign_in_as(call: &Call<'_>, layer: Layer, who: Identity) -> Answered {
    let fact = Fact::SignedIn {
        dc: call.centre.id,
        key_id: call.key.shared.id().to_bytes(),
        owner: who,
    };
    call.world.store.remember(&fact).map_err(|error| {
        tracing::error!(%error, "a login cannot be remembered");
        RpcError::internal()
    })?;
    call.key.set_owner(who);
    let known = Known { call, who, layer };
    Ok(Answer::Object(layer::authorization(&known.myself(), layer)))
}
