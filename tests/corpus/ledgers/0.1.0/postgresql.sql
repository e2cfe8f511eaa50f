CREATE FUNCTION public.only_added_to() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'rows here are only added'; END $$;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.api_call (
    call_id character varying NOT NULL,
    request_id character varying NOT NULL,
    attempt integer NOT NULL,
    account_id character varying NOT NULL,
    key_id character varying NOT NULL,
    connection_id character varying NOT NULL,
    owner character varying NOT NULL,
    payout_address character varying NOT NULL,
    operation character varying NOT NULL,
    state character varying NOT NULL,
    period_starts_at_s bigint NOT NULL,
    units_max bigint NOT NULL,
    price_usdc bigint NOT NULL,
    is_flat boolean NOT NULL,
    transaction_fee_usdc bigint NOT NULL,
    ceiling_usdc bigint NOT NULL,
    units bigint,
    cost_usdc bigint,
    earning_usdc bigint,
    fee_usdc bigint,
    status integer,
    void_reason character varying,
    is_api_failure boolean NOT NULL,
    api_ms bigint,
    whole_ms bigint,
    reserved_at_s bigint NOT NULL,
    lease_expires_at_s bigint NOT NULL,
    holder_id character varying,
    resolved_at_s bigint,
    payout_id character varying,
    fee_bps bigint DEFAULT '1000'::bigint NOT NULL,
    count_on text DEFAULT '2xx'::text NOT NULL,
    CONSTRAINT cost_fits CHECK (((cost_usdc >= 0) AND (cost_usdc <= ceiling_usdc))),
    CONSTRAINT cost_when_posted CHECK ((((state)::text = 'posted'::text) = (cost_usdc IS NOT NULL))),
    CONSTRAINT split_adds_up CHECK (((cost_usdc = (earning_usdc + fee_usdc)) AND (earning_usdc >= 0) AND (fee_usdc >= 0))),
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['reserved'::character varying, 'posted'::character varying, 'voided'::character varying])::text[]))),
    CONSTRAINT units_fit CHECK (((units >= 0) AND (units <= units_max)))
);
CREATE TABLE public.api_connection (
    connection_id character varying NOT NULL,
    owner character varying NOT NULL,
    name character varying NOT NULL,
    base_url text NOT NULL,
    terms text NOT NULL,
    payout_address character varying NOT NULL,
    status character varying NOT NULL,
    suspended_for text,
    version bigint NOT NULL,
    created_at_s bigint NOT NULL,
    changed_at_s bigint NOT NULL,
    CONSTRAINT status_known CHECK (((status)::text = ANY ((ARRAY['enabled'::character varying, 'disabled'::character varying, 'deleted'::character varying])::text[])))
);
CREATE TABLE public.api_connection_key (
    connection_id character varying NOT NULL,
    ciphertext bytea NOT NULL,
    wrapped_key bytea NOT NULL,
    kms_key_id character varying NOT NULL
);
CREATE TABLE public.api_flag (
    connection_id character varying NOT NULL,
    account_id character varying NOT NULL,
    reason character varying NOT NULL,
    detail text NOT NULL,
    flagged_at_s bigint NOT NULL
);
CREATE TABLE public.api_key (
    key_id character varying NOT NULL,
    token_id bigint NOT NULL,
    key_epoch bigint NOT NULL,
    issued_at_s bigint NOT NULL
);
CREATE TABLE public.api_name (
    name character varying NOT NULL,
    owner character varying NOT NULL,
    approved_at_s bigint NOT NULL
);
CREATE TABLE public.api_period (
    connection_id character varying NOT NULL,
    starts_at_s bigint NOT NULL,
    ends_at_s bigint NOT NULL,
    for_sale_units bigint NOT NULL,
    sold_units bigint NOT NULL,
    reserved_units bigint NOT NULL,
    own_units bigint NOT NULL,
    lost_units bigint NOT NULL,
    carried_units bigint DEFAULT '0'::bigint NOT NULL,
    read_at_s bigint DEFAULT '0'::bigint NOT NULL,
    CONSTRAINT fits CHECK (((sold_units + reserved_units) <= for_sale_units)),
    CONSTRAINT not_negative CHECK (((sold_units >= 0) AND (reserved_units >= 0)))
);
CREATE TABLE public.audit_entry (
    entry_id character varying NOT NULL,
    actor character varying NOT NULL,
    action character varying NOT NULL,
    supplier_id character varying,
    subject character varying NOT NULL,
    at_s bigint NOT NULL
);
CREATE TABLE public.batch (
    batch_id character varying NOT NULL,
    state character varying NOT NULL,
    receipts_root character varying NOT NULL,
    total_usdc bigint NOT NULL,
    planned_at_s bigint NOT NULL,
    settled_block bigint,
    settled_tx_hash character varying,
    given_up boolean DEFAULT false NOT NULL,
    archived_at_s bigint,
    archive_sha256 character varying,
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['planned'::character varying, 'settled'::character varying, 'abandoned'::character varying])::text[])))
);
CREATE TABLE public.batch_item (
    batch_id character varying NOT NULL,
    token_id bigint NOT NULL,
    cost_usdc bigint NOT NULL,
    offset_usdc bigint DEFAULT '0'::bigint NOT NULL,
    archived_usdc bigint DEFAULT '0'::bigint NOT NULL
);
CREATE TABLE public.batch_stray (
    request_id character varying NOT NULL,
    batch_id character varying NOT NULL
);
CREATE TABLE public.block (
    number bigint NOT NULL,
    block_hash character varying NOT NULL,
    parent_hash character varying NOT NULL,
    timestamp_s bigint NOT NULL
);
CREATE SEQUENCE public.block_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.block_number_seq OWNED BY public.block.number;
CREATE TABLE public.child_key (
    key_id character varying NOT NULL,
    token_id bigint NOT NULL,
    key_epoch bigint NOT NULL,
    label character varying NOT NULL,
    models text,
    request_usdc_max bigint,
    day_usdc_max bigint,
    month_usdc_max bigint,
    lifetime_usdc_max bigint,
    requests_per_minute_max integer,
    concurrency_max integer,
    expires_at_s bigint,
    created_at_s bigint NOT NULL,
    revoked_at_s bigint,
    generation integer NOT NULL,
    grace_until_s bigint NOT NULL,
    day bigint NOT NULL,
    day_used_usdc bigint NOT NULL,
    month_used_usdc bigint NOT NULL,
    used_usdc bigint NOT NULL,
    minute bigint NOT NULL,
    minute_requests integer NOT NULL,
    open_requests integer NOT NULL,
    CONSTRAINT open_positive CHECK ((open_requests >= 0)),
    CONSTRAINT used_positive CHECK (((day_used_usdc >= 0) AND (month_used_usdc >= 0) AND (used_usdc >= 0)))
);
CREATE TABLE public.demand (
    token_id bigint NOT NULL,
    required_usdc bigint NOT NULL,
    wanted_at_s bigint NOT NULL
);
CREATE SEQUENCE public.demand_token_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.demand_token_id_seq OWNED BY public.demand.token_id;
CREATE TABLE public.deployment (
    chain_id bigint NOT NULL,
    "position" character varying NOT NULL,
    adapter character varying NOT NULL,
    payouts character varying NOT NULL,
    block_number bigint NOT NULL,
    block_hash character varying NOT NULL,
    batch_prefix character varying NOT NULL,
    next_batch_number bigint NOT NULL
);
CREATE SEQUENCE public.deployment_chain_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.deployment_chain_id_seq OWNED BY public.deployment.chain_id;
CREATE TABLE public.event (
    block_number bigint NOT NULL,
    log_index integer NOT NULL,
    block_hash bytea NOT NULL,
    block_timestamp_s bigint NOT NULL,
    tx_hash bytea NOT NULL,
    contract character varying NOT NULL,
    name character varying NOT NULL,
    token_id bigint,
    settled_batch_id character varying,
    words bytea NOT NULL
);
CREATE TABLE public.hold_placement (
    intent_id character varying NOT NULL,
    token_id bigint NOT NULL,
    amount_usdc bigint NOT NULL,
    is_reduction boolean NOT NULL
);
CREATE TABLE public.hold_raise (
    token_id bigint NOT NULL,
    block_number bigint NOT NULL,
    log_index integer NOT NULL,
    raised_usdc bigint NOT NULL,
    expires_before_s bigint NOT NULL
);
CREATE TABLE public.intent (
    intent_id character varying NOT NULL,
    kind character varying NOT NULL,
    state character varying NOT NULL,
    reason character varying NOT NULL,
    payload text NOT NULL,
    sender character varying,
    nonce bigint,
    tx_hash character varying,
    raw_tx text,
    mined_block bigint,
    mined_block_hash character varying,
    gas_used bigint,
    fee_wei numeric(78,0),
    error text,
    created_at_s bigint NOT NULL,
    updated_at_s bigint NOT NULL,
    l1_fee_wei numeric(78,0)
);
CREATE TABLE public.keeper_day (
    day integer NOT NULL,
    kind character varying NOT NULL,
    account character varying NOT NULL,
    gas_usdc bigint NOT NULL,
    left_items bigint NOT NULL,
    left_usdc bigint NOT NULL
);
CREATE TABLE public.keeper_rest (
    kind character varying NOT NULL,
    subject character varying NOT NULL,
    failures integer NOT NULL,
    until_s bigint NOT NULL,
    CONSTRAINT failed CHECK ((failures > 0))
);
CREATE TABLE public.kept_answer (
    lookup_id character varying NOT NULL,
    body_digest character varying NOT NULL,
    request_id character varying NOT NULL,
    owner character varying NOT NULL,
    state character varying NOT NULL,
    sealed bytea,
    sealed_bytes bigint NOT NULL,
    expires_at_s bigint NOT NULL,
    CONSTRAINT kept_state_known CHECK (((state)::text = ANY ((ARRAY['open'::character varying, 'kept'::character varying, 'dropped'::character varying])::text[]))),
    CONSTRAINT kept_when_sealed CHECK ((((state)::text = 'kept'::text) = (sealed IS NOT NULL)))
);
CREATE TABLE public.key_policy (
    token_id bigint NOT NULL,
    key_id character varying NOT NULL,
    policy text,
    changed_at_s bigint NOT NULL
);
CREATE TABLE public.kyb_decision (
    decision_id character varying NOT NULL,
    supplier_id character varying NOT NULL,
    version integer NOT NULL,
    reviewer character varying NOT NULL,
    decision character varying NOT NULL,
    is_final boolean NOT NULL,
    items text NOT NULL,
    note text NOT NULL,
    decided_at_s bigint NOT NULL,
    CONSTRAINT decision_known CHECK (((decision)::text = ANY ((ARRAY['approve'::character varying, 'revise'::character varying, 'reject'::character varying, 'suspend'::character varying, 'reinstate'::character varying])::text[])))
);
CREATE TABLE public.kyb_document (
    document_id character varying NOT NULL,
    supplier_id character varying NOT NULL,
    kind character varying NOT NULL,
    name text NOT NULL,
    media_type character varying NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 character varying NOT NULL,
    ciphertext bytea,
    wrapped_key bytea,
    kms_key_id character varying,
    is_current boolean NOT NULL,
    uploaded_at_s bigint NOT NULL,
    erase_at_s bigint NOT NULL,
    erased_at_s bigint,
    CONSTRAINT kind_known CHECK (((kind)::text = ANY ((ARRAY['business_license'::character varying, 'bank_proof'::character varying, 'tax_clearance'::character varying, 'business_history'::character varying])::text[])))
);
CREATE TABLE public.kyb_identity (
    identity_id character varying NOT NULL,
    digest character varying NOT NULL,
    key_id character varying NOT NULL,
    changed_at_s bigint NOT NULL
);
CREATE TABLE public.kyb_owner (
    owner_id character varying NOT NULL,
    supplier_id character varying NOT NULL,
    "position" integer NOT NULL,
    legal_name text NOT NULL,
    nationality character varying NOT NULL,
    id_type character varying NOT NULL,
    identity_id character varying NOT NULL,
    role character varying NOT NULL,
    share_bps integer NOT NULL,
    CONSTRAINT share_in_range CHECK (((share_bps >= 0) AND (share_bps <= 10000)))
);
CREATE TABLE public.kyb_section (
    supplier_id character varying NOT NULL,
    section character varying NOT NULL,
    content text NOT NULL,
    version integer NOT NULL,
    saved_at_s bigint NOT NULL,
    CONSTRAINT section_known CHECK (((section)::text = ANY ((ARRAY['entity'::character varying, 'owners'::character varying, 'source'::character varying])::text[])))
);
CREATE TABLE public.kyb_submission (
    supplier_id character varying NOT NULL,
    version integer NOT NULL,
    content text NOT NULL,
    submitted_at_s bigint NOT NULL
);
CREATE TABLE public.lease_holder (
    holder_id character varying NOT NULL,
    role character varying NOT NULL,
    beats bigint NOT NULL,
    started_at_s bigint NOT NULL,
    beat_at_s bigint NOT NULL
);
CREATE TABLE public.ledger_restore (
    restore_id integer NOT NULL,
    since_s bigint NOT NULL,
    backup_sha256 character varying NOT NULL,
    ended_keys text
);
CREATE SEQUENCE public.ledger_restore_restore_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.ledger_restore_restore_id_seq OWNED BY public.ledger_restore.restore_id;
CREATE TABLE public.market_account (
    account_id character varying NOT NULL,
    kind character varying NOT NULL,
    wallet character varying,
    credited_usdc bigint NOT NULL,
    spent_usdc bigint NOT NULL,
    reserved_usdc bigint NOT NULL,
    created_at_s bigint NOT NULL,
    CONSTRAINT covered CHECK (((spent_usdc + reserved_usdc) <= credited_usdc)),
    CONSTRAINT kind_known CHECK (((kind)::text = ANY ((ARRAY['prepaid'::character varying, 'operator'::character varying])::text[]))),
    CONSTRAINT not_negative CHECK (((spent_usdc >= 0) AND (reserved_usdc >= 0)))
);
CREATE TABLE public.market_artifact (
    artifact_id character varying NOT NULL,
    sale_id character varying NOT NULL,
    offer_id character varying NOT NULL,
    url text NOT NULL,
    expires_at_s bigint NOT NULL
);
CREATE TABLE public.market_conviction (
    conviction_id character varying NOT NULL,
    offer_id character varying NOT NULL,
    seller character varying NOT NULL,
    model character varying NOT NULL,
    state character varying NOT NULL,
    evidence text NOT NULL,
    counts_from_s bigint NOT NULL,
    refunds_from_s bigint NOT NULL,
    convicted_at_s bigint NOT NULL,
    ended_at_s bigint,
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['open'::character varying, 'refunded'::character varying, 'overturned'::character varying])::text[])))
);
CREATE TABLE public.market_credit (
    credit_id character varying NOT NULL,
    account_id character varying NOT NULL,
    amount_usdc bigint NOT NULL,
    source character varying NOT NULL,
    credited_at_s bigint NOT NULL
);
CREATE TABLE public.market_dispute (
    dispute_id character varying NOT NULL,
    offer_id character varying NOT NULL,
    model character varying NOT NULL,
    asked_by character varying NOT NULL,
    sale_id character varying,
    reason text NOT NULL,
    filed_at_s bigint NOT NULL
);
CREATE TABLE public.market_evidence (
    evidence_id character varying NOT NULL,
    offer_id character varying NOT NULL,
    offer_version bigint NOT NULL,
    model character varying NOT NULL,
    method character varying NOT NULL,
    day bigint NOT NULL,
    made_at_s bigint NOT NULL,
    observed text NOT NULL,
    transcript text NOT NULL,
    transcript_hash character varying NOT NULL,
    cost_usdc bigint NOT NULL,
    looks bigint NOT NULL,
    peak_milli bigint NOT NULL,
    CONSTRAINT method_known CHECK (((method)::text = ANY ((ARRAY['first_token'::character varying, 'border'::character varying, 'prompt_tokens'::character varying, 'tool_calls'::character varying, 'completion_tokens'::character varying, 'logprobs'::character varying])::text[]))),
    CONSTRAINT wealth_makes_sense CHECK (((looks > 0) AND (peak_milli >= 1000) AND (cost_usdc >= 0)))
);
CREATE TABLE public.market_job (
    job_id character varying NOT NULL,
    account_id character varying NOT NULL,
    endpoint character varying NOT NULL,
    scope character varying NOT NULL,
    idempotency_key character varying,
    request_digest character varying,
    model character varying NOT NULL,
    sale_id character varying NOT NULL,
    offer_id character varying NOT NULL,
    upstream_id text,
    state character varying NOT NULL,
    error_code character varying,
    result text,
    quantity bigint NOT NULL,
    flat_fee_usdc bigint NOT NULL,
    polls_failed integer NOT NULL,
    created_at_s bigint NOT NULL,
    deadline_s bigint NOT NULL,
    next_poll_at_s bigint NOT NULL,
    resolved_at_s bigint,
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['submitting'::character varying, 'queued'::character varying, 'in_progress'::character varying, 'completed'::character varying, 'failed'::character varying, 'cancelled'::character varying, 'expired'::character varying])::text[])))
);
CREATE TABLE public.market_key (
    key_id character varying NOT NULL,
    key_hash character varying NOT NULL,
    kind character varying NOT NULL,
    owner character varying NOT NULL,
    label character varying NOT NULL,
    created_at_s bigint NOT NULL,
    expires_at_s bigint,
    revoked_at_s bigint,
    trusted_only boolean,
    CONSTRAINT kind_known CHECK (((kind)::text = ANY ((ARRAY['seller'::character varying, 'buyer'::character varying])::text[])))
);
CREATE TABLE public.market_lapse (
    offer_id character varying NOT NULL,
    resets_at_s bigint NOT NULL,
    seller character varying NOT NULL,
    model character varying NOT NULL,
    starts_at_s bigint NOT NULL,
    quota_usdc bigint NOT NULL,
    sold_usdc bigint NOT NULL,
    lapsed_usdc bigint NOT NULL,
    CONSTRAINT adds_up CHECK ((quota_usdc = (sold_usdc + lapsed_usdc))),
    CONSTRAINT not_negative CHECK (((sold_usdc >= 0) AND (lapsed_usdc >= 0)))
);
CREATE TABLE public.market_nonce (
    nonce character varying NOT NULL,
    expires_at_s bigint NOT NULL
);
CREATE TABLE public.market_offer (
    offer_id character varying NOT NULL,
    seller character varying NOT NULL,
    model character varying NOT NULL,
    upstream_model character varying NOT NULL,
    label character varying NOT NULL,
    seller_base_url text NOT NULL,
    price_input_usdc_per_mtok bigint,
    price_output_usdc_per_mtok bigint,
    cost_multiplier_ppm bigint,
    cap_daily_usdc bigint,
    quota_total_usdc bigint,
    rate_limit_rpm integer,
    payout_address character varying NOT NULL,
    status character varying NOT NULL,
    version bigint NOT NULL,
    day bigint NOT NULL,
    day_used_usdc bigint NOT NULL,
    total_used_usdc bigint NOT NULL,
    idempotency_key character varying,
    request_digest character varying,
    created_at_s bigint NOT NULL,
    changed_at_s bigint NOT NULL,
    unit character varying,
    price_cached_input_usdc_per_mtok bigint,
    price_per_request_usdc bigint,
    price_tiers text,
    suspended_for text,
    supply_offer_id character varying,
    quota_resets_at_s bigint,
    falls_from_s bigint,
    floor_pct integer,
    declares text,
    doubted_at_s bigint,
    tested_from_s bigint,
    CONSTRAINT not_negative CHECK (((day_used_usdc >= 0) AND (total_used_usdc >= 0))),
    CONSTRAINT priced_one_way CHECK (((cost_multiplier_ppm IS NULL) = ((price_input_usdc_per_mtok IS NOT NULL) AND (price_output_usdc_per_mtok IS NOT NULL)))),
    CONSTRAINT status_known CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'paused'::character varying, 'deleted'::character varying])::text[])))
);
CREATE TABLE public.market_offer_key (
    offer_id character varying NOT NULL,
    ciphertext bytea NOT NULL,
    wrapped_key bytea NOT NULL,
    kms_key_id character varying NOT NULL
);
CREATE TABLE public.market_own_provider (
    provider_id character varying NOT NULL,
    account_id character varying NOT NULL,
    label character varying NOT NULL,
    base_url text NOT NULL,
    models text NOT NULL,
    "position" character varying NOT NULL,
    status character varying NOT NULL,
    version bigint NOT NULL,
    created_at_s bigint NOT NULL,
    changed_at_s bigint NOT NULL,
    CONSTRAINT position_known CHECK ((("position")::text = ANY ((ARRAY['priority'::character varying, 'fallback'::character varying])::text[]))),
    CONSTRAINT status_known CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'paused'::character varying, 'deleted'::character varying])::text[])))
);
CREATE TABLE public.market_own_provider_key (
    provider_id character varying NOT NULL,
    ciphertext bytea NOT NULL,
    wrapped_key bytea NOT NULL,
    kms_key_id character varying NOT NULL
);
CREATE TABLE public.market_payout (
    payout_id character varying NOT NULL,
    seller character varying NOT NULL,
    payee character varying NOT NULL,
    amount_usdc bigint NOT NULL,
    planned_at_s bigint NOT NULL,
    batch_id character varying,
    CONSTRAINT amount_positive CHECK ((amount_usdc > 0))
);
CREATE TABLE public.market_probe_turn (
    offer_id character varying NOT NULL,
    until_s bigint NOT NULL,
    booked_usdc bigint DEFAULT '0'::bigint NOT NULL,
    booked_at_s bigint DEFAULT '0'::bigint NOT NULL,
    disputed_usdc bigint DEFAULT '0'::bigint NOT NULL,
    disputed_day bigint DEFAULT '0'::bigint NOT NULL
);
CREATE TABLE public.market_refund (
    sale_id character varying NOT NULL,
    conviction_id character varying NOT NULL,
    account_id character varying NOT NULL,
    credit_id character varying NOT NULL,
    amount_usdc bigint NOT NULL,
    earning_usdc bigint NOT NULL,
    is_borne boolean NOT NULL,
    refunded_at_s bigint NOT NULL,
    CONSTRAINT something_is_refunded CHECK (((amount_usdc > 0) AND (earning_usdc >= 0)))
);
CREATE TABLE public.market_sale (
    sale_id character varying NOT NULL,
    request_id character varying NOT NULL,
    attempt integer NOT NULL,
    account_id character varying NOT NULL,
    key_id character varying NOT NULL,
    offer_id character varying NOT NULL,
    seller character varying NOT NULL,
    payout_address character varying NOT NULL,
    endpoint character varying NOT NULL,
    model character varying NOT NULL,
    state character varying NOT NULL,
    input_usdc_per_mtok bigint NOT NULL,
    output_usdc_per_mtok bigint NOT NULL,
    fee_bps integer NOT NULL,
    ceiling_usdc bigint NOT NULL,
    prompt_tokens bigint,
    completion_tokens bigint,
    cost_usdc bigint,
    earning_usdc bigint,
    fee_usdc bigint,
    margin_usdc bigint,
    void_reason character varying,
    is_seller_failure boolean NOT NULL,
    day bigint NOT NULL,
    reserved_at_s bigint NOT NULL,
    lease_expires_at_s bigint NOT NULL,
    resolved_at_s bigint,
    payout_id character varying,
    unit character varying,
    cached_input_usdc_per_mtok bigint,
    cached_tokens bigint,
    per_request_usdc bigint,
    holder_id character varying,
    is_cut boolean,
    supply_offer_id character varying,
    bound_tokens bigint,
    vesting_s bigint DEFAULT '0'::bigint NOT NULL,
    CONSTRAINT cost_fits CHECK (((cost_usdc >= 0) AND (cost_usdc <= ceiling_usdc))),
    CONSTRAINT cost_when_posted CHECK ((((state)::text = 'posted'::text) = (cost_usdc IS NOT NULL))),
    CONSTRAINT split_adds_up CHECK (((cost_usdc = ((earning_usdc + fee_usdc) + margin_usdc)) AND (earning_usdc >= 0) AND (fee_usdc >= 0) AND (margin_usdc >= 0))),
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['reserved'::character varying, 'posted'::character varying, 'voided'::character varying])::text[])))
);
CREATE TABLE public.market_seller (
    address character varying NOT NULL,
    fee_bps integer,
    payout_policy character varying NOT NULL,
    is_trusted boolean NOT NULL,
    created_at_s bigint NOT NULL,
    decided_at_s bigint,
    note text,
    CONSTRAINT fee_in_range CHECK (((fee_bps IS NULL) OR ((fee_bps >= 0) AND (fee_bps <= 10000)))),
    CONSTRAINT policy_known CHECK (((payout_policy)::text = ANY ((ARRAY['at_once'::character varying, 'daily'::character varying])::text[])))
);
CREATE TABLE public.market_withdrawal (
    withdrawal_id character varying NOT NULL,
    account_id character varying NOT NULL,
    wallet character varying NOT NULL,
    amount_usdc bigint NOT NULL,
    fee_usdc bigint NOT NULL,
    nonce character varying NOT NULL,
    requested_at_s bigint NOT NULL,
    CONSTRAINT something_is_paid CHECK (((fee_usdc >= 0) AND (amount_usdc > fee_usdc)))
);
CREATE TABLE public.mirror (
    chain_id bigint NOT NULL,
    block_number bigint NOT NULL,
    block_hash character varying NOT NULL,
    block_timestamp_s bigint NOT NULL,
    head_number bigint NOT NULL,
    observed_at_s bigint NOT NULL
);
CREATE SEQUENCE public.mirror_chain_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.mirror_chain_id_seq OWNED BY public.mirror.chain_id;
CREATE TABLE public.outbox_mail (
    mail_id character varying NOT NULL,
    to_address character varying NOT NULL,
    template character varying NOT NULL,
    facts text NOT NULL,
    token_purpose character varying,
    supplier_id character varying,
    once_key character varying,
    state character varying NOT NULL,
    tries integer NOT NULL,
    due_at_s bigint NOT NULL,
    error character varying,
    created_at_s bigint NOT NULL,
    sent_at_s bigint,
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['waiting'::character varying, 'sent'::character varying, 'failed'::character varying])::text[])))
);
CREATE TABLE public.payment_floor (
    floor_id integer NOT NULL,
    floor_usdc bigint NOT NULL,
    before_usdc bigint NOT NULL,
    changed_at_s bigint NOT NULL,
    CONSTRAINT not_negative CHECK (((floor_usdc >= 0) AND (before_usdc >= 0))),
    CONSTRAINT only_one CHECK ((floor_id = 1))
);
CREATE SEQUENCE public.payment_floor_floor_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.payment_floor_floor_id_seq OWNED BY public.payment_floor.floor_id;
CREATE TABLE public.payout_batch (
    batch_id character varying NOT NULL,
    state character varying NOT NULL,
    total_usdc bigint NOT NULL,
    planned_at_s bigint NOT NULL,
    paid_block bigint,
    paid_tx_hash character varying,
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['planned'::character varying, 'sent'::character varying, 'paid'::character varying, 'abandoned'::character varying])::text[])))
);
CREATE TABLE public.payout_item (
    batch_id character varying NOT NULL,
    payout_id character varying NOT NULL,
    payee character varying NOT NULL,
    amount_usdc bigint NOT NULL,
    state character varying NOT NULL,
    CONSTRAINT amount_positive CHECK ((amount_usdc > 0)),
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['planned'::character varying, 'sent'::character varying, 'paid'::character varying, 'credited'::character varying, 'freed'::character varying])::text[])))
);
CREATE TABLE public."position" (
    token_id bigint NOT NULL,
    owner character varying NOT NULL,
    model_tier integer NOT NULL,
    daily_smoothing_bps integer NOT NULL,
    vault character varying NOT NULL,
    principal_usdc bigint NOT NULL,
    shares numeric(78,0) NOT NULL,
    harvest_interval_s integer NOT NULL,
    last_harvest_at_s bigint NOT NULL,
    key_epoch bigint NOT NULL,
    credited_usdc bigint NOT NULL,
    spent_usdc bigint NOT NULL,
    withdrawn_usdc bigint NOT NULL,
    hold_usdc bigint NOT NULL,
    hold_expires_at_s bigint NOT NULL,
    day bigint NOT NULL,
    day_base_usdc bigint NOT NULL,
    day_spent_usdc bigint NOT NULL,
    release_requested_at_s bigint,
    hold_unconfirmed_usdc bigint NOT NULL,
    hold_confirmed_expires_at_s bigint NOT NULL,
    drawn_usdc bigint NOT NULL,
    harvest_look_at_s bigint DEFAULT '0'::bigint NOT NULL,
    harvest_failures integer DEFAULT 0 NOT NULL,
    harvest_sent_at_s bigint DEFAULT '0'::bigint NOT NULL,
    hold_placing_usdc bigint,
    CONSTRAINT drawn_not_negative CHECK ((drawn_usdc >= 0)),
    CONSTRAINT hold_not_negative CHECK ((hold_usdc >= 0)),
    CONSTRAINT solvent CHECK (((spent_usdc + withdrawn_usdc) <= credited_usdc))
);
CREATE SEQUENCE public.position_token_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.position_token_id_seq OWNED BY public."position".token_id;
CREATE TABLE public.schema_promise (
    promise_id integer NOT NULL,
    oldest_revision character varying NOT NULL
);
CREATE SEQUENCE public.schema_promise_promise_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.schema_promise_promise_id_seq OWNED BY public.schema_promise.promise_id;
CREATE TABLE public.supplier (
    supplier_id character varying NOT NULL,
    email character varying NOT NULL,
    password_hash text,
    role character varying NOT NULL,
    kyb_status character varying NOT NULL,
    kyb_version integer NOT NULL,
    kyb_changed_at_s bigint NOT NULL,
    legal_name text,
    registration_number character varying,
    fee_bps integer,
    totp_ciphertext bytea,
    totp_wrapped_key bytea,
    totp_kms_key_id character varying,
    totp_confirmed_at_s bigint,
    totp_last_step bigint NOT NULL,
    created_at_s bigint NOT NULL,
    changed_at_s bigint NOT NULL,
    CONSTRAINT fee_in_range CHECK (((fee_bps IS NULL) OR ((fee_bps >= 0) AND (fee_bps <= 10000)))),
    CONSTRAINT kyb_status_known CHECK (((kyb_status)::text = ANY ((ARRAY['draft'::character varying, 'pending'::character varying, 'under_review'::character varying, 'revision_needed'::character varying, 'approved'::character varying, 'rejected'::character varying, 'suspended'::character varying])::text[]))),
    CONSTRAINT role_known CHECK (((role)::text = ANY ((ARRAY['supplier'::character varying, 'reviewer'::character varying, 'operator'::character varying])::text[]))),
    CONSTRAINT totp_whole CHECK ((((totp_ciphertext IS NULL) = (totp_wrapped_key IS NULL)) AND ((totp_ciphertext IS NULL) = (totp_kms_key_id IS NULL))))
);
CREATE TABLE public.supplier_application (
    application_id character varying NOT NULL,
    email character varying NOT NULL,
    content text NOT NULL,
    mailed_at_s bigint NOT NULL,
    verified_at_s bigint,
    created_at_s bigint NOT NULL
);
CREATE TABLE public.supplier_key (
    key_id character varying NOT NULL,
    key_hash character varying NOT NULL,
    supplier_id character varying NOT NULL,
    label character varying NOT NULL,
    scopes character varying NOT NULL,
    created_at_s bigint NOT NULL,
    expires_at_s bigint,
    revoked_at_s bigint
);
CREATE TABLE public.supplier_payouts (
    payout_id character varying NOT NULL,
    supplier_id character varying NOT NULL,
    day bigint NOT NULL,
    first_day bigint NOT NULL,
    status character varying NOT NULL,
    reason text,
    rail character varying NOT NULL,
    network character varying NOT NULL,
    asset character varying NOT NULL,
    address character varying,
    gross_usdc bigint NOT NULL,
    fee_bps integer NOT NULL,
    fee_usdc bigint NOT NULL,
    network_fee_usdc bigint NOT NULL,
    carried_in_usdc bigint NOT NULL,
    net_usdc bigint NOT NULL,
    carried_out_usdc bigint NOT NULL,
    usd_rate character varying NOT NULL,
    usd_rate_source character varying NOT NULL,
    usd_rate_at_s bigint NOT NULL,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    external_id character varying,
    external_batch character varying,
    external_state character varying,
    is_verified boolean NOT NULL,
    tries integer NOT NULL,
    tx_hash character varying,
    next_try_at_s bigint NOT NULL,
    created_at_s bigint NOT NULL,
    submitted_at_s bigint,
    sent_at_s bigint,
    changed_at_s bigint NOT NULL,
    code_tries integer DEFAULT 0 NOT NULL,
    retries integer DEFAULT 0 NOT NULL,
    CONSTRAINT adds_up CHECK (((((gross_usdc - fee_usdc) + carried_in_usdc) = (net_usdc + carried_out_usdc)) AND ((net_usdc = 0) OR (carried_out_usdc = 0)) AND (gross_usdc >= 0) AND (fee_usdc >= 0) AND (net_usdc >= 0) AND (carried_out_usdc >= 0))),
    CONSTRAINT carried_pays_nothing CHECK ((((status)::text = 'carried'::text) = (net_usdc = 0))),
    CONSTRAINT status_known CHECK (((status)::text = ANY ((ARRAY['carried'::character varying, 'pending'::character varying, 'address_pending_whitelist'::character varying, 'submitted'::character varying, 'sending'::character varying, 'sent'::character varying, 'failed'::character varying, 'needs_operator'::character varying])::text[])))
);
CREATE TABLE public.supplier_session (
    session_hash character varying NOT NULL,
    session_id character varying NOT NULL,
    supplier_id character varying NOT NULL,
    user_agent text NOT NULL,
    created_at_s bigint NOT NULL,
    seen_at_s bigint NOT NULL,
    expires_at_s bigint NOT NULL,
    fresh_at_s bigint NOT NULL
);
CREATE TABLE public.supplier_status_change (
    change_id character varying NOT NULL,
    supplier_id character varying NOT NULL,
    kyb_status character varying NOT NULL,
    at_s bigint NOT NULL,
    CONSTRAINT kyb_status_known CHECK (((kyb_status)::text = ANY ((ARRAY['draft'::character varying, 'pending'::character varying, 'under_review'::character varying, 'revision_needed'::character varying, 'approved'::character varying, 'rejected'::character varying, 'suspended'::character varying])::text[])))
);
CREATE TABLE public.supplier_throttle (
    subject character varying NOT NULL,
    tries integer NOT NULL,
    started_at_s bigint NOT NULL,
    ends_at_s bigint NOT NULL
);
CREATE TABLE public.supplier_token (
    token_hash character varying NOT NULL,
    purpose character varying NOT NULL,
    email character varying NOT NULL,
    expires_at_s bigint NOT NULL,
    created_at_s bigint NOT NULL,
    CONSTRAINT purpose_known CHECK (((purpose)::text = ANY ((ARRAY['verify'::character varying, 'sign_up'::character varying, 'reset'::character varying, 'undo'::character varying])::text[])))
);
CREATE TABLE public.supply_account (
    supplier_id character varying NOT NULL,
    network character varying,
    carried_usdc bigint NOT NULL,
    settled_day bigint NOT NULL,
    CONSTRAINT not_negative CHECK ((carried_usdc >= 0))
);
CREATE TABLE public.supply_address (
    address_id character varying NOT NULL,
    supplier_id character varying NOT NULL,
    network character varying NOT NULL,
    address character varying NOT NULL,
    saved_at_s bigint NOT NULL,
    counts_from_s bigint NOT NULL,
    cancelled_at_s bigint
);
CREATE TABLE public.supply_day (
    supply_offer_id character varying NOT NULL,
    day bigint NOT NULL,
    bid_usdc_per_mtok bigint NOT NULL,
    supplier_id character varying NOT NULL,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    paid_tokens bigint NOT NULL,
    payout_id character varying
);
CREATE TABLE public.supply_offer (
    supply_offer_id character varying NOT NULL,
    supplier_id character varying NOT NULL,
    provider_type character varying NOT NULL,
    model_list text NOT NULL,
    models_digest character varying NOT NULL,
    bid_usdc_per_mtok bigint NOT NULL,
    base_url text NOT NULL,
    rate_limit_rpm integer,
    quota_tokens bigint,
    legal_basis text,
    status character varying NOT NULL,
    version bigint NOT NULL,
    key_version bigint NOT NULL,
    recent text NOT NULL,
    used_tokens bigint NOT NULL,
    reserved_tokens bigint NOT NULL,
    probe_due_s bigint,
    probe_ok boolean,
    probe_report text,
    probed_at_s bigint,
    created_at_s bigint NOT NULL,
    changed_at_s bigint NOT NULL,
    CONSTRAINT not_negative CHECK (((used_tokens >= 0) AND (reserved_tokens >= 0))),
    CONSTRAINT status_known CHECK (((status)::text = ANY ((ARRAY['pending_probe'::character varying, 'active'::character varying, 'paused'::character varying, 'probe_failed'::character varying, 'exhausted'::character varying, 'deleted'::character varying])::text[]))),
    CONSTRAINT within_quota CHECK (((quota_tokens IS NULL) OR ((status)::text = 'deleted'::text) OR ((used_tokens + reserved_tokens) <= quota_tokens)))
);
CREATE TABLE public.upstream_list (
    upstream_digest character varying NOT NULL,
    models text NOT NULL,
    prices text NOT NULL,
    heard_at_s bigint NOT NULL
);
CREATE TABLE public.usage (
    request_id character varying NOT NULL,
    token_id bigint NOT NULL,
    key_epoch bigint NOT NULL,
    key_id character varying NOT NULL,
    model character varying NOT NULL,
    state character varying NOT NULL,
    ceiling_usdc bigint NOT NULL,
    cost_usdc bigint,
    input_usdc_per_mtok bigint NOT NULL,
    output_usdc_per_mtok bigint NOT NULL,
    prompt_tokens bigint,
    completion_tokens bigint,
    reserved_at_s bigint NOT NULL,
    lease_expires_at_s bigint NOT NULL,
    resolved_at_s bigint,
    batch_id character varying,
    void_reason character varying,
    cached_input_usdc_per_mtok bigint,
    cached_tokens bigint,
    per_request_usdc bigint,
    holder_id character varying,
    end_user character varying,
    labels character varying,
    served character varying,
    CONSTRAINT batch_when_batched CHECK ((((state)::text = ANY ((ARRAY['settling'::character varying, 'settled'::character varying])::text[])) = (batch_id IS NOT NULL))),
    CONSTRAINT ceiling_not_negative CHECK ((ceiling_usdc >= 0)),
    CONSTRAINT cost_fits CHECK (((cost_usdc >= 0) AND (cost_usdc <= ceiling_usdc))),
    CONSTRAINT cost_when_posted CHECK ((((state)::text = ANY ((ARRAY['reserved'::character varying, 'voided'::character varying])::text[])) = (cost_usdc IS NULL))),
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['reserved'::character varying, 'posted'::character varying, 'settling'::character varying, 'settled'::character varying, 'voided'::character varying, 'written_off'::character varying])::text[])))
);
CREATE TABLE public.usage_day (
    sum_id character varying NOT NULL,
    token_id bigint NOT NULL,
    key_id character varying NOT NULL,
    day bigint NOT NULL,
    model character varying NOT NULL,
    end_user character varying,
    labels text,
    requests bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cost_usdc bigint NOT NULL
);
CREATE TABLE public.used_nonce (
    nonce character varying NOT NULL,
    expires_at_s bigint NOT NULL
);
CREATE TABLE public.wallet_session (
    session_hash character varying NOT NULL,
    session_id character varying NOT NULL,
    address character varying NOT NULL,
    user_agent text NOT NULL,
    created_at_s bigint NOT NULL,
    expires_at_s bigint NOT NULL
);
CREATE TABLE public.webhook (
    webhook_id character varying NOT NULL,
    token_id bigint NOT NULL,
    url text NOT NULL,
    events text NOT NULL,
    low_usdc bigint NOT NULL,
    secret bytea NOT NULL,
    secret_before bytea,
    secret_before_until_s bigint NOT NULL,
    seen text NOT NULL,
    next_number bigint NOT NULL,
    busy_until_s bigint NOT NULL,
    created_at_s bigint NOT NULL,
    ended_at_s bigint,
    key_epoch bigint DEFAULT '0'::bigint NOT NULL,
    answer_ms bigint
);
CREATE TABLE public.webhook_delivery (
    delivery_id character varying NOT NULL,
    webhook_id character varying NOT NULL,
    number bigint NOT NULL,
    message_id character varying NOT NULL,
    kind character varying NOT NULL,
    body text NOT NULL,
    state character varying NOT NULL,
    tries integer NOT NULL,
    next_try_at_s bigint NOT NULL,
    created_at_s bigint NOT NULL,
    ended_at_s bigint,
    said text,
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['waiting'::character varying, 'delivered'::character varying, 'failed'::character varying])::text[])))
);
CREATE TABLE public.x402_payment (
    payment_id character varying NOT NULL,
    account_id character varying NOT NULL,
    payer character varying NOT NULL,
    payee character varying NOT NULL,
    value_usdc bigint NOT NULL,
    valid_after_s bigint NOT NULL,
    valid_before_s bigint NOT NULL,
    nonce character varying NOT NULL,
    signature text NOT NULL,
    purpose character varying NOT NULL,
    request_digest character varying NOT NULL,
    state character varying NOT NULL,
    error text,
    failures integer NOT NULL,
    look_at_s bigint NOT NULL,
    from_block bigint NOT NULL,
    intent_id character varying,
    tx_hash character varying,
    settled_block bigint,
    settled_block_hash character varying,
    is_final boolean NOT NULL,
    credited_usdc bigint NOT NULL,
    request_id character varying,
    claimed_until_s bigint,
    created_at_s bigint NOT NULL,
    updated_at_s bigint NOT NULL,
    holder_id character varying,
    failed_in_block_s bigint,
    CONSTRAINT credit_fits CHECK (((credited_usdc >= 0) AND (credited_usdc <= value_usdc))),
    CONSTRAINT purpose_known CHECK (((purpose)::text = ANY ((ARRAY['request'::character varying, 'topup'::character varying])::text[]))),
    CONSTRAINT state_known CHECK (((state)::text = ANY ((ARRAY['verified'::character varying, 'sent'::character varying, 'settled'::character varying, 'failed'::character varying, 'expired'::character varying])::text[]))),
    CONSTRAINT value_positive CHECK ((value_usdc > 0))
);
ALTER TABLE ONLY public.block ALTER COLUMN number SET DEFAULT nextval('public.block_number_seq'::regclass);
ALTER TABLE ONLY public.demand ALTER COLUMN token_id SET DEFAULT nextval('public.demand_token_id_seq'::regclass);
ALTER TABLE ONLY public.deployment ALTER COLUMN chain_id SET DEFAULT nextval('public.deployment_chain_id_seq'::regclass);
ALTER TABLE ONLY public.ledger_restore ALTER COLUMN restore_id SET DEFAULT nextval('public.ledger_restore_restore_id_seq'::regclass);
ALTER TABLE ONLY public.mirror ALTER COLUMN chain_id SET DEFAULT nextval('public.mirror_chain_id_seq'::regclass);
ALTER TABLE ONLY public.payment_floor ALTER COLUMN floor_id SET DEFAULT nextval('public.payment_floor_floor_id_seq'::regclass);
ALTER TABLE ONLY public."position" ALTER COLUMN token_id SET DEFAULT nextval('public.position_token_id_seq'::regclass);
ALTER TABLE ONLY public.schema_promise ALTER COLUMN promise_id SET DEFAULT nextval('public.schema_promise_promise_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0076');
INSERT INTO public.api_key VALUES ('root', 0, 0, 1800000000);
INSERT INTO public.batch VALUES ('0xb29ea9492759b704b962917b92b7731a953bd16ace4fe44f0000000000000001', 'planned', '0x07169eb4921c90ff1e739835f1eb08a8d79394485f00d0a5be2cfd8fb7c89421', 7, 1800000000, NULL, NULL, false, NULL, NULL);
INSERT INTO public.batch_item VALUES ('0xb29ea9492759b704b962917b92b7731a953bd16ace4fe44f0000000000000001', 1, 7, 0, 0);
INSERT INTO public.child_key VALUES ('live', 0, 0, 'live', '["model"]', NULL, 500, NULL, NULL, NULL, NULL, NULL, 1800000000, NULL, 0, 0, 20833, 0, 0, 0, 0, 0, 0);
INSERT INTO public.child_key VALUES ('revoked', 0, 0, 'revoked', '["model"]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1800000000, 1800000000, 0, 0, 20833, 0, 0, 0, 0, 0, 0);
INSERT INTO public.deployment VALUES (31337, '0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1', '0xa2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2', '0xa3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3', 1, '0x0101010101010101010101010101010101010101010101010101010101010101', 'b29ea9492759b704b962917b92b7731a953bd16ace4fe44f', 1);
INSERT INTO public.market_account VALUES ('b', 'prepaid', '0xb', 1000000000000000, 150, 0, 1000);
INSERT INTO public.market_credit VALUES ('c', 'b', 1000000000000000, 'test', 1000);
INSERT INTO public.market_key VALUES ('k', 'h', 'buyer', 'b', '', 1000, NULL, NULL, NULL);
INSERT INTO public.market_offer VALUES ('so-m', 's', 'm', 'm', '', 'https://s.example/v1', 150000, 150000, NULL, NULL, NULL, NULL, '', 'active', 1, 20833, 150, 150, NULL, NULL, 1000, 1000, NULL, NULL, NULL, NULL, NULL, 'so', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.market_offer_key VALUES ('so-m', '\x63', '\x77', 'kms');
INSERT INTO public.market_sale VALUES ('r00000003.0', 'r00000003', 0, 'b', 'k', 'so-m', 's', '', 'chat/completions', 'm', 'posted', 150000, 150000, 1500, 150, 800, 200, 150, 128, 22, 0, NULL, false, 20833, 1800000000, 1800003600, 1800000000, 'so:20833', NULL, NULL, 0, 0, NULL, false, 'so', 1000, 0);
INSERT INTO public.market_seller VALUES ('s', NULL, 'at_once', false, 1000, NULL, NULL);
INSERT INTO public.mirror VALUES (31337, 10, '0x000000000000000000000000000000000000000000000000000000000000000a', 1800000000, 10, 1800000000);
INSERT INTO public."position" VALUES (1, '0x1111111111111111111111111111111111111111', 0, 10000, '0xa6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6', 1000000000, 1000000000000000000000, 1800, 1800000000, 0, 1000000, 0, 0, 500000, 1800007200, 20833, 1000000, 0, NULL, 0, 1800007200, 7, 0, 0, 0, NULL);
INSERT INTO public."position" VALUES (0, '0x1111111111111111111111111111111111111111', 0, 10000, '0xa6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6', 1000000000, 1000000000000000000000, 1800, 1800000000, 0, 1000000, 0, 0, 500000, 1800007200, 20833, 1000000, 0, NULL, 0, 1800007200, 7, 0, 0, 0, NULL);
INSERT INTO public."position" VALUES (2, '0x1111111111111111111111111111111111111111', 0, 10000, '0xa6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6', 1000000000, 1000000000000000000000, 1800, 1800000000, 0, 1000000, 0, 0, 500000, 1800007200, 20833, 1000000, 0, NULL, 0, 1800007200, 11, 0, 0, 0, NULL);
INSERT INTO public.schema_promise VALUES (1, '0076');
INSERT INTO public.supplier VALUES ('s', 's@company.example', NULL, 'supplier', 'approved', 0, 1001, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 1000, 1001);
INSERT INTO public.supplier_status_change VALUES ('s-0', 's', 'draft', 1000);
INSERT INTO public.supplier_status_change VALUES ('s-1', 's', 'approved', 1001);
INSERT INTO public.supply_account VALUES ('s', 'base', 0, -1);
INSERT INTO public.supply_address VALUES ('s-00000002', 's', 'base', '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed', 1000, 1000, NULL);
INSERT INTO public.supply_day VALUES ('so', 20833, 150000, 's', 1, 800, 200, 1000, NULL);
INSERT INTO public.supply_offer VALUES ('so', 's', 'openai_compatible', '["m"]', '4182765a191207bfca29e38532e6f5939ea8276a528390c73c8eeba3ecc332c0', 150000, 'https://s.example/v1', NULL, NULL, NULL, 'active', 1, 0, '', 1000, 0, NULL, true, '[{"model": "m", "ok": true}]', 1000, 1000, 1000);
INSERT INTO public.usage VALUES ('settling', 1, 0, 'key', 'model', 'settling', 14, 7, 1, 1, 1, 1, 1800000000, 1800000300, 1800000000, '0xb29ea9492759b704b962917b92b7731a953bd16ace4fe44f0000000000000001', NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.usage VALUES ('posted', 0, 0, 'key', 'model', 'posted', 14, 7, 1, 1, 1, 1, 1800000000, 1800000300, 1800000000, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.usage VALUES ('reserved', 2, 0, 'key', 'model', 'reserved', 11, NULL, 1, 1, NULL, NULL, 1800000000, 1800000300, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.usage VALUES ('voided', 2, 0, 'key', 'model', 'voided', 11, NULL, 1, 1, NULL, NULL, 1800000000, 1800000300, 1800000000, NULL, 'test', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT pg_catalog.setval('public.block_number_seq', 1, false);
SELECT pg_catalog.setval('public.demand_token_id_seq', 1, false);
SELECT pg_catalog.setval('public.deployment_chain_id_seq', 1, false);
SELECT pg_catalog.setval('public.ledger_restore_restore_id_seq', 1, false);
SELECT pg_catalog.setval('public.mirror_chain_id_seq', 1, false);
SELECT pg_catalog.setval('public.payment_floor_floor_id_seq', 1, false);
SELECT pg_catalog.setval('public.position_token_id_seq', 1, false);
SELECT pg_catalog.setval('public.schema_promise_promise_id_seq', 1, false);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.api_call
    ADD CONSTRAINT api_call_attempt UNIQUE (request_id, attempt);
ALTER TABLE ONLY public.api_call
    ADD CONSTRAINT api_call_pkey PRIMARY KEY (call_id);
ALTER TABLE ONLY public.api_connection_key
    ADD CONSTRAINT api_connection_key_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.api_connection
    ADD CONSTRAINT api_connection_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.api_flag
    ADD CONSTRAINT api_flag_pkey PRIMARY KEY (connection_id, account_id, reason);
ALTER TABLE ONLY public.api_key
    ADD CONSTRAINT api_key_pkey PRIMARY KEY (key_id);
ALTER TABLE ONLY public.api_name
    ADD CONSTRAINT api_name_pkey PRIMARY KEY (name, owner);
ALTER TABLE ONLY public.api_period
    ADD CONSTRAINT api_period_pkey PRIMARY KEY (connection_id, starts_at_s);
ALTER TABLE ONLY public.audit_entry
    ADD CONSTRAINT audit_entry_pkey PRIMARY KEY (entry_id);
ALTER TABLE ONLY public.batch_item
    ADD CONSTRAINT batch_item_pkey PRIMARY KEY (batch_id, token_id);
ALTER TABLE ONLY public.batch
    ADD CONSTRAINT batch_pkey PRIMARY KEY (batch_id);
ALTER TABLE ONLY public.batch_stray
    ADD CONSTRAINT batch_stray_pkey PRIMARY KEY (request_id, batch_id);
ALTER TABLE ONLY public.block
    ADD CONSTRAINT block_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.child_key
    ADD CONSTRAINT child_key_pkey PRIMARY KEY (key_id);
ALTER TABLE ONLY public.demand
    ADD CONSTRAINT demand_pkey PRIMARY KEY (token_id);
ALTER TABLE ONLY public.deployment
    ADD CONSTRAINT deployment_pkey PRIMARY KEY (chain_id);
ALTER TABLE ONLY public.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (block_number, log_index);
ALTER TABLE ONLY public.hold_placement
    ADD CONSTRAINT hold_placement_pkey PRIMARY KEY (intent_id, token_id);
ALTER TABLE ONLY public.hold_raise
    ADD CONSTRAINT hold_raise_pkey PRIMARY KEY (token_id, block_number, log_index);
ALTER TABLE ONLY public.intent
    ADD CONSTRAINT intent_pkey PRIMARY KEY (intent_id);
ALTER TABLE ONLY public.keeper_day
    ADD CONSTRAINT keeper_day_pkey PRIMARY KEY (day, kind, account);
ALTER TABLE ONLY public.keeper_rest
    ADD CONSTRAINT keeper_rest_pkey PRIMARY KEY (kind, subject);
ALTER TABLE ONLY public.kept_answer
    ADD CONSTRAINT kept_answer_pkey PRIMARY KEY (lookup_id);
ALTER TABLE ONLY public.key_policy
    ADD CONSTRAINT key_policy_pkey PRIMARY KEY (token_id, key_id);
ALTER TABLE ONLY public.kyb_decision
    ADD CONSTRAINT kyb_decision_pkey PRIMARY KEY (decision_id);
ALTER TABLE ONLY public.kyb_document
    ADD CONSTRAINT kyb_document_pkey PRIMARY KEY (document_id);
ALTER TABLE ONLY public.kyb_identity
    ADD CONSTRAINT kyb_identity_digest UNIQUE (digest, key_id);
ALTER TABLE ONLY public.kyb_identity
    ADD CONSTRAINT kyb_identity_pkey PRIMARY KEY (identity_id);
ALTER TABLE ONLY public.kyb_owner
    ADD CONSTRAINT kyb_owner_pkey PRIMARY KEY (owner_id);
ALTER TABLE ONLY public.kyb_section
    ADD CONSTRAINT kyb_section_pkey PRIMARY KEY (supplier_id, section);
ALTER TABLE ONLY public.kyb_submission
    ADD CONSTRAINT kyb_submission_pkey PRIMARY KEY (supplier_id, version);
ALTER TABLE ONLY public.lease_holder
    ADD CONSTRAINT lease_holder_pkey PRIMARY KEY (holder_id);
ALTER TABLE ONLY public.ledger_restore
    ADD CONSTRAINT ledger_restore_pkey PRIMARY KEY (restore_id);
ALTER TABLE ONLY public.market_account
    ADD CONSTRAINT market_account_pkey PRIMARY KEY (account_id);
ALTER TABLE ONLY public.market_account
    ADD CONSTRAINT market_account_wallet_key UNIQUE (wallet);
ALTER TABLE ONLY public.market_artifact
    ADD CONSTRAINT market_artifact_pkey PRIMARY KEY (artifact_id);
ALTER TABLE ONLY public.market_conviction
    ADD CONSTRAINT market_conviction_once UNIQUE (offer_id, counts_from_s);
ALTER TABLE ONLY public.market_conviction
    ADD CONSTRAINT market_conviction_pkey PRIMARY KEY (conviction_id);
ALTER TABLE ONLY public.market_credit
    ADD CONSTRAINT market_credit_pkey PRIMARY KEY (credit_id);
ALTER TABLE ONLY public.market_dispute
    ADD CONSTRAINT market_dispute_once UNIQUE (sale_id);
ALTER TABLE ONLY public.market_dispute
    ADD CONSTRAINT market_dispute_pkey PRIMARY KEY (dispute_id);
ALTER TABLE ONLY public.market_evidence
    ADD CONSTRAINT market_evidence_pkey PRIMARY KEY (evidence_id);
ALTER TABLE ONLY public.market_job
    ADD CONSTRAINT market_job_once UNIQUE (account_id, endpoint, scope, idempotency_key);
ALTER TABLE ONLY public.market_job
    ADD CONSTRAINT market_job_pkey PRIMARY KEY (job_id);
ALTER TABLE ONLY public.market_key
    ADD CONSTRAINT market_key_key_hash_key UNIQUE (key_hash);
ALTER TABLE ONLY public.market_key
    ADD CONSTRAINT market_key_pkey PRIMARY KEY (key_id);
ALTER TABLE ONLY public.market_lapse
    ADD CONSTRAINT market_lapse_pkey PRIMARY KEY (offer_id, resets_at_s);
ALTER TABLE ONLY public.market_nonce
    ADD CONSTRAINT market_nonce_pkey PRIMARY KEY (nonce);
ALTER TABLE ONLY public.market_offer_key
    ADD CONSTRAINT market_offer_key_pkey PRIMARY KEY (offer_id);
ALTER TABLE ONLY public.market_offer
    ADD CONSTRAINT market_offer_once UNIQUE (seller, idempotency_key);
ALTER TABLE ONLY public.market_offer
    ADD CONSTRAINT market_offer_pkey PRIMARY KEY (offer_id);
ALTER TABLE ONLY public.x402_payment
    ADD CONSTRAINT market_payment_pkey PRIMARY KEY (payment_id);
ALTER TABLE ONLY public.market_payout
    ADD CONSTRAINT market_payout_pkey PRIMARY KEY (payout_id);
ALTER TABLE ONLY public.market_probe_turn
    ADD CONSTRAINT market_probe_turn_pkey PRIMARY KEY (offer_id);
ALTER TABLE ONLY public.market_own_provider_key
    ADD CONSTRAINT market_provider_key_pkey PRIMARY KEY (provider_id);
ALTER TABLE ONLY public.market_own_provider
    ADD CONSTRAINT market_provider_pkey PRIMARY KEY (provider_id);
ALTER TABLE ONLY public.market_refund
    ADD CONSTRAINT market_refund_pkey PRIMARY KEY (sale_id);
ALTER TABLE ONLY public.market_sale
    ADD CONSTRAINT market_sale_attempt UNIQUE (request_id, attempt);
ALTER TABLE ONLY public.market_sale
    ADD CONSTRAINT market_sale_pkey PRIMARY KEY (sale_id);
ALTER TABLE ONLY public.market_seller
    ADD CONSTRAINT market_seller_pkey PRIMARY KEY (address);
ALTER TABLE ONLY public.market_withdrawal
    ADD CONSTRAINT market_withdrawal_nonce_key UNIQUE (nonce);
ALTER TABLE ONLY public.market_withdrawal
    ADD CONSTRAINT market_withdrawal_pkey PRIMARY KEY (withdrawal_id);
ALTER TABLE ONLY public.mirror
    ADD CONSTRAINT mirror_pkey PRIMARY KEY (chain_id);
ALTER TABLE ONLY public.outbox_mail
    ADD CONSTRAINT outbox_mail_once_key_key UNIQUE (once_key);
ALTER TABLE ONLY public.outbox_mail
    ADD CONSTRAINT outbox_mail_pkey PRIMARY KEY (mail_id);
ALTER TABLE ONLY public.payment_floor
    ADD CONSTRAINT payment_floor_pkey PRIMARY KEY (floor_id);
ALTER TABLE ONLY public.payout_batch
    ADD CONSTRAINT payout_batch_pkey PRIMARY KEY (batch_id);
ALTER TABLE ONLY public.payout_item
    ADD CONSTRAINT payout_item_pkey PRIMARY KEY (batch_id, payout_id);
ALTER TABLE ONLY public."position"
    ADD CONSTRAINT position_pkey PRIMARY KEY (token_id);
ALTER TABLE ONLY public.schema_promise
    ADD CONSTRAINT schema_promise_pkey PRIMARY KEY (promise_id);
ALTER TABLE ONLY public.supplier_application
    ADD CONSTRAINT supplier_application_email_key UNIQUE (email);
ALTER TABLE ONLY public.supplier_application
    ADD CONSTRAINT supplier_application_pkey PRIMARY KEY (application_id);
ALTER TABLE ONLY public.supplier
    ADD CONSTRAINT supplier_email_key UNIQUE (email);
ALTER TABLE ONLY public.supplier_key
    ADD CONSTRAINT supplier_key_key_hash_key UNIQUE (key_hash);
ALTER TABLE ONLY public.supplier_key
    ADD CONSTRAINT supplier_key_pkey PRIMARY KEY (key_id);
ALTER TABLE ONLY public.supplier_payouts
    ADD CONSTRAINT supplier_payouts_once UNIQUE (supplier_id, day);
ALTER TABLE ONLY public.supplier_payouts
    ADD CONSTRAINT supplier_payouts_pkey PRIMARY KEY (payout_id);
ALTER TABLE ONLY public.supplier
    ADD CONSTRAINT supplier_pkey PRIMARY KEY (supplier_id);
ALTER TABLE ONLY public.supplier_session
    ADD CONSTRAINT supplier_session_pkey PRIMARY KEY (session_hash);
ALTER TABLE ONLY public.supplier_session
    ADD CONSTRAINT supplier_session_session_id_key UNIQUE (session_id);
ALTER TABLE ONLY public.supplier_status_change
    ADD CONSTRAINT supplier_status_change_pkey PRIMARY KEY (change_id);
ALTER TABLE ONLY public.supplier_throttle
    ADD CONSTRAINT supplier_throttle_pkey PRIMARY KEY (subject);
ALTER TABLE ONLY public.supplier_token
    ADD CONSTRAINT supplier_token_pkey PRIMARY KEY (token_hash);
ALTER TABLE ONLY public.supply_account
    ADD CONSTRAINT supply_account_pkey PRIMARY KEY (supplier_id);
ALTER TABLE ONLY public.supply_address
    ADD CONSTRAINT supply_address_pkey PRIMARY KEY (address_id);
ALTER TABLE ONLY public.supply_day
    ADD CONSTRAINT supply_day_pkey PRIMARY KEY (supply_offer_id, day, bid_usdc_per_mtok);
ALTER TABLE ONLY public.supply_offer
    ADD CONSTRAINT supply_offer_pkey PRIMARY KEY (supply_offer_id);
ALTER TABLE ONLY public.upstream_list
    ADD CONSTRAINT upstream_list_pkey PRIMARY KEY (upstream_digest);
ALTER TABLE ONLY public.usage_day
    ADD CONSTRAINT usage_day_pkey PRIMARY KEY (sum_id);
ALTER TABLE ONLY public.usage
    ADD CONSTRAINT usage_pkey PRIMARY KEY (request_id);
ALTER TABLE ONLY public.used_nonce
    ADD CONSTRAINT used_nonce_pkey PRIMARY KEY (nonce);
ALTER TABLE ONLY public.wallet_session
    ADD CONSTRAINT wallet_session_pkey PRIMARY KEY (session_hash);
ALTER TABLE ONLY public.wallet_session
    ADD CONSTRAINT wallet_session_session_id_key UNIQUE (session_id);
ALTER TABLE ONLY public.webhook_delivery
    ADD CONSTRAINT webhook_delivery_once UNIQUE (webhook_id, number);
ALTER TABLE ONLY public.webhook_delivery
    ADD CONSTRAINT webhook_delivery_pkey PRIMARY KEY (delivery_id);
ALTER TABLE ONLY public.webhook
    ADD CONSTRAINT webhook_pkey PRIMARY KEY (webhook_id);
ALTER TABLE ONLY public.x402_payment
    ADD CONSTRAINT x402_payment_once UNIQUE (payer, nonce);
CREATE INDEX api_call_account ON public.api_call USING btree (account_id, call_id);
CREATE INDEX api_call_connection ON public.api_call USING btree (connection_id, call_id);
CREATE INDEX api_call_open ON public.api_call USING btree (lease_expires_at_s) WHERE ((state)::text = 'reserved'::text);
CREATE INDEX api_call_owner ON public.api_call USING btree (owner, call_id);
CREATE INDEX api_call_unpaid ON public.api_call USING btree (payout_address) WHERE (((state)::text = 'posted'::text) AND (payout_id IS NULL));
CREATE INDEX api_connection_changed ON public.api_connection USING btree (changed_at_s);
CREATE UNIQUE INDEX api_connection_name ON public.api_connection USING btree (owner, name) WHERE ((status)::text <> 'deleted'::text);
CREATE INDEX api_connection_owner ON public.api_connection USING btree (owner);
CREATE INDEX audit_entry_supplier ON public.audit_entry USING btree (supplier_id, entry_id);
CREATE INDEX batch_open ON public.batch USING btree (batch_id) WHERE ((state)::text = 'planned'::text);
CREATE INDEX child_key_token ON public.child_key USING btree (token_id, key_epoch);
CREATE INDEX demand_wanted ON public.demand USING btree (wanted_at_s);
CREATE INDEX event_batch ON public.event USING btree (settled_batch_id) WHERE (settled_batch_id IS NOT NULL);
CREATE INDEX event_contract ON public.event USING btree (name, block_number) WHERE (token_id IS NULL);
CREATE INDEX event_token ON public.event USING btree (token_id, block_number, log_index) WHERE (token_id IS NOT NULL);
CREATE INDEX hold_placement_token ON public.hold_placement USING btree (token_id);
CREATE INDEX intent_nonce ON public.intent USING btree (sender, nonce);
CREATE UNIQUE INDEX intent_nonce_taken ON public.intent USING btree (sender, nonce) WHERE ((state)::text = ANY ((ARRAY['planned'::character varying, 'simulated'::character varying, 'sent'::character varying, 'mined'::character varying, 'confirmed'::character varying])::text[]));
CREATE INDEX intent_open ON public.intent USING btree (intent_id) WHERE ((state)::text = ANY ((ARRAY['planned'::character varying, 'simulated'::character varying, 'sent'::character varying, 'mined'::character varying])::text[]));
CREATE INDEX ix_api_call_payout_id ON public.api_call USING btree (payout_id);
CREATE INDEX ix_api_connection_key_kms_key_id ON public.api_connection_key USING btree (kms_key_id);
CREATE INDEX ix_api_key_token_id ON public.api_key USING btree (token_id);
CREATE INDEX ix_batch_stray_batch_id ON public.batch_stray USING btree (batch_id);
CREATE INDEX ix_kept_answer_expires_at_s ON public.kept_answer USING btree (expires_at_s);
CREATE INDEX ix_key_policy_changed_at_s ON public.key_policy USING btree (changed_at_s);
CREATE INDEX ix_kyb_identity_key_id ON public.kyb_identity USING btree (key_id);
CREATE INDEX ix_market_artifact_expires_at_s ON public.market_artifact USING btree (expires_at_s);
CREATE INDEX ix_market_credit_account_id ON public.market_credit USING btree (account_id);
CREATE INDEX ix_market_nonce_expires_at_s ON public.market_nonce USING btree (expires_at_s);
CREATE INDEX ix_market_offer_key_kms_key_id ON public.market_offer_key USING btree (kms_key_id);
CREATE INDEX ix_market_own_provider_key_kms_key_id ON public.market_own_provider_key USING btree (kms_key_id);
CREATE INDEX ix_market_payout_seller ON public.market_payout USING btree (seller);
CREATE INDEX ix_market_sale_offer_id ON public.market_sale USING btree (offer_id);
CREATE INDEX ix_market_sale_payout_id ON public.market_sale USING btree (payout_id);
CREATE INDEX ix_outbox_mail_supplier_id ON public.outbox_mail USING btree (supplier_id);
CREATE INDEX ix_supplier_application_created_at_s ON public.supplier_application USING btree (created_at_s);
CREATE INDEX ix_supplier_session_expires_at_s ON public.supplier_session USING btree (expires_at_s);
CREATE INDEX ix_supplier_throttle_ends_at_s ON public.supplier_throttle USING btree (ends_at_s);
CREATE INDEX ix_supplier_token_expires_at_s ON public.supplier_token USING btree (expires_at_s);
CREATE INDEX ix_used_nonce_expires_at_s ON public.used_nonce USING btree (expires_at_s);
CREATE INDEX ix_wallet_session_expires_at_s ON public.wallet_session USING btree (expires_at_s);
CREATE INDEX kept_answer_of_owner ON public.kept_answer USING btree (owner, sealed_bytes);
CREATE INDEX kyb_decision_of ON public.kyb_decision USING btree (supplier_id, version);
CREATE INDEX kyb_document_erase ON public.kyb_document USING btree (erase_at_s) WHERE (ciphertext IS NOT NULL);
CREATE INDEX kyb_document_kms_key ON public.kyb_document USING btree (kms_key_id);
CREATE INDEX kyb_document_of ON public.kyb_document USING btree (supplier_id, kind);
CREATE INDEX kyb_owner_identity ON public.kyb_owner USING btree (identity_id);
CREATE INDEX kyb_owner_of ON public.kyb_owner USING btree (supplier_id, "position");
CREATE INDEX market_account_empty ON public.market_account USING btree (created_at_s) WHERE ((credited_usdc = 0) AND ((kind)::text = 'prepaid'::text));
CREATE INDEX market_conviction_seller ON public.market_conviction USING btree (seller);
CREATE INDEX market_dispute_asked ON public.market_dispute USING btree (asked_by, filed_at_s);
CREATE INDEX market_dispute_filed ON public.market_dispute USING btree (filed_at_s);
CREATE INDEX market_dispute_offer ON public.market_dispute USING btree (offer_id);
CREATE INDEX market_evidence_day ON public.market_evidence USING btree (day);
CREATE INDEX market_evidence_model ON public.market_evidence USING btree (model, made_at_s);
CREATE INDEX market_evidence_offer ON public.market_evidence USING btree (offer_id, made_at_s);
CREATE INDEX market_job_due ON public.market_job USING btree (next_poll_at_s) WHERE ((state)::text = ANY ((ARRAY['submitting'::character varying, 'queued'::character varying, 'in_progress'::character varying])::text[]));
CREATE INDEX market_key_expiry ON public.market_key USING btree (expires_at_s) WHERE (expires_at_s IS NOT NULL);
CREATE INDEX market_key_owner ON public.market_key USING btree (kind, owner);
CREATE INDEX market_key_revoked ON public.market_key USING btree (revoked_at_s) WHERE (revoked_at_s IS NOT NULL);
CREATE INDEX market_lapse_seller ON public.market_lapse USING btree (seller, resets_at_s);
CREATE INDEX market_offer_changed ON public.market_offer USING btree (changed_at_s);
CREATE INDEX market_offer_deleted ON public.market_offer USING btree (changed_at_s) WHERE ((status)::text = 'deleted'::text);
CREATE INDEX market_offer_expires ON public.market_offer USING btree (quota_resets_at_s) WHERE (quota_resets_at_s IS NOT NULL);
CREATE INDEX market_offer_seller ON public.market_offer USING btree (seller);
CREATE INDEX market_offer_supply ON public.market_offer USING btree (supply_offer_id) WHERE (supply_offer_id IS NOT NULL);
CREATE INDEX market_own_provider_account ON public.market_own_provider USING btree (account_id);
CREATE INDEX market_own_provider_changed ON public.market_own_provider USING btree (changed_at_s);
CREATE INDEX market_own_provider_deleted ON public.market_own_provider USING btree (changed_at_s) WHERE ((status)::text = 'deleted'::text);
CREATE INDEX market_payout_waits ON public.market_payout USING btree (planned_at_s, payout_id) WHERE (batch_id IS NULL);
CREATE INDEX market_refund_conviction ON public.market_refund USING btree (conviction_id);
CREATE INDEX market_refund_credit ON public.market_refund USING btree (credit_id);
CREATE INDEX market_sale_account ON public.market_sale USING btree (account_id, reserved_at_s);
CREATE INDEX market_sale_open ON public.market_sale USING btree (lease_expires_at_s) WHERE ((state)::text = 'reserved'::text);
CREATE INDEX market_sale_seller ON public.market_sale USING btree (seller, reserved_at_s);
CREATE INDEX market_sale_unpaid ON public.market_sale USING btree (payout_address) WHERE (((state)::text = 'posted'::text) AND (payout_id IS NULL));
CREATE INDEX market_seller_created ON public.market_seller USING btree (created_at_s);
CREATE INDEX market_withdrawal_account ON public.market_withdrawal USING btree (account_id, withdrawal_id);
CREATE INDEX outbox_mail_created ON public.outbox_mail USING btree (created_at_s);
CREATE INDEX outbox_mail_due ON public.outbox_mail USING btree (due_at_s) WHERE ((state)::text = 'waiting'::text);
CREATE INDEX payout_batch_open ON public.payout_batch USING btree (batch_id) WHERE ((state)::text = ANY ((ARRAY['planned'::character varying, 'sent'::character varying])::text[]));
CREATE INDEX payout_batch_paid ON public.payout_batch USING btree (paid_block);
CREATE UNIQUE INDEX payout_item_live ON public.payout_item USING btree (payout_id) WHERE ((state)::text <> 'freed'::text);
CREATE INDEX position_harvest_look ON public."position" USING btree ((
CASE
    WHEN (harvest_look_at_s > (last_harvest_at_s + harvest_interval_s)) THEN harvest_look_at_s
    ELSE (last_harvest_at_s + harvest_interval_s)
END), token_id) WHERE (shares > (0)::numeric);
CREATE INDEX position_release ON public."position" USING btree (token_id) WHERE (release_requested_at_s IS NOT NULL);
CREATE INDEX supplier_changed ON public.supplier USING btree (changed_at_s);
CREATE INDEX supplier_key_of ON public.supplier_key USING btree (supplier_id);
CREATE INDEX supplier_payouts_external ON public.supplier_payouts USING btree (external_id);
CREATE INDEX supplier_payouts_of ON public.supplier_payouts USING btree (supplier_id, payout_id);
CREATE INDEX supplier_payouts_underway ON public.supplier_payouts USING btree (next_try_at_s) WHERE ((status)::text = ANY ((ARRAY['pending'::character varying, 'address_pending_whitelist'::character varying, 'submitted'::character varying, 'sending'::character varying, 'needs_operator'::character varying, 'failed'::character varying])::text[]));
CREATE INDEX supplier_session_of ON public.supplier_session USING btree (supplier_id);
CREATE INDEX supplier_status_change_at ON public.supplier_status_change USING btree (supplier_id, at_s);
CREATE INDEX supplier_token_email ON public.supplier_token USING btree (email, purpose);
CREATE INDEX supplier_under_review ON public.supplier USING btree (kyb_changed_at_s) WHERE ((kyb_status)::text = 'under_review'::text);
CREATE INDEX supply_account_carries ON public.supply_account USING btree (supplier_id) WHERE (carried_usdc > 0);
CREATE INDEX supply_account_settled ON public.supply_account USING btree (settled_day);
CREATE INDEX supply_address_of ON public.supply_address USING btree (supplier_id, network, counts_from_s);
CREATE INDEX supply_day_open ON public.supply_day USING btree (day, supplier_id) WHERE (payout_id IS NULL);
CREATE INDEX supply_day_supplier ON public.supply_day USING btree (supplier_id, day);
CREATE UNIQUE INDEX supply_offer_once ON public.supply_offer USING btree (supplier_id, provider_type, models_digest, bid_usdc_per_mtok) WHERE ((status)::text <> 'deleted'::text);
CREATE INDEX supply_offer_probe ON public.supply_offer USING btree (probe_due_s) WHERE (probe_due_s IS NOT NULL);
CREATE INDEX supply_offer_supplier ON public.supply_offer USING btree (supplier_id, supply_offer_id);
CREATE INDEX usage_batch ON public.usage USING btree (batch_id);
CREATE INDEX usage_day_token ON public.usage_day USING btree (token_id, day);
CREATE INDEX usage_open ON public.usage USING btree (state, token_id);
CREATE INDEX usage_token ON public.usage USING btree (token_id, reserved_at_s);
CREATE INDEX wallet_session_of ON public.wallet_session USING btree (address);
CREATE INDEX webhook_delivery_due ON public.webhook_delivery USING btree (state, next_try_at_s);
CREATE INDEX webhook_token ON public.webhook USING btree (token_id);
CREATE INDEX x402_payment_account ON public.x402_payment USING btree (account_id, payment_id);
CREATE INDEX x402_payment_dead ON public.x402_payment USING btree (updated_at_s) WHERE ((state)::text = ANY ((ARRAY['failed'::character varying, 'expired'::character varying])::text[]));
CREATE INDEX x402_payment_holder ON public.x402_payment USING btree (holder_id, claimed_until_s) WHERE (holder_id IS NOT NULL);
CREATE INDEX x402_payment_open ON public.x402_payment USING btree (look_at_s) WHERE ((state)::text = ANY ((ARRAY['verified'::character varying, 'sent'::character varying])::text[]));
CREATE INDEX x402_payment_young ON public.x402_payment USING btree (settled_block) WHERE (((state)::text = 'settled'::text) AND (is_final = false));
CREATE TRIGGER audit_entry_only_added_to BEFORE DELETE OR UPDATE ON public.audit_entry FOR EACH ROW EXECUTE FUNCTION public.only_added_to();
CREATE TRIGGER kyb_decision_only_added_to BEFORE DELETE OR UPDATE ON public.kyb_decision FOR EACH ROW EXECUTE FUNCTION public.only_added_to();
CREATE TRIGGER kyb_submission_only_added_to BEFORE DELETE OR UPDATE ON public.kyb_submission FOR EACH ROW EXECUTE FUNCTION public.only_added_to();
CREATE TRIGGER supplier_status_change_only_added_to BEFORE DELETE OR UPDATE ON public.supplier_status_change FOR EACH ROW EXECUTE FUNCTION public.only_added_to();
ALTER TABLE ONLY public.api_call
    ADD CONSTRAINT api_call_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.market_account(account_id);
ALTER TABLE ONLY public.api_call
    ADD CONSTRAINT api_call_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.api_connection(connection_id);
ALTER TABLE ONLY public.api_connection_key
    ADD CONSTRAINT api_connection_key_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.api_connection(connection_id);
ALTER TABLE ONLY public.api_connection
    ADD CONSTRAINT api_connection_owner_fkey FOREIGN KEY (owner) REFERENCES public.market_seller(address);
ALTER TABLE ONLY public.api_flag
    ADD CONSTRAINT api_flag_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.api_connection(connection_id);
ALTER TABLE ONLY public.api_period
    ADD CONSTRAINT api_period_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.api_connection(connection_id);
ALTER TABLE ONLY public.batch_item
    ADD CONSTRAINT batch_item_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES public.batch(batch_id);
ALTER TABLE ONLY public.batch_stray
    ADD CONSTRAINT batch_stray_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES public.batch(batch_id);
ALTER TABLE ONLY public.batch_stray
    ADD CONSTRAINT batch_stray_request_id_fkey FOREIGN KEY (request_id) REFERENCES public.usage(request_id);
ALTER TABLE ONLY public.kyb_decision
    ADD CONSTRAINT kyb_decision_supplier_id_fkey FOREIGN KEY (supplier_id) REFERENCES public.supplier(supplier_id);
ALTER TABLE ONLY public.kyb_document
    ADD CONSTRAINT kyb_document_supplier_id_fkey FOREIGN KEY (supplier_id) REFERENCES public.supplier(supplier_id);
ALTER TABLE ONLY public.kyb_owner
    ADD CONSTRAINT kyb_owner_identity_id_fkey FOREIGN KEY (identity_id) REFERENCES public.kyb_identity(identity_id);
ALTER TABLE ONLY public.kyb_owner
    ADD CONSTRAINT kyb_owner_supplier_id_fkey FOREIGN KEY (supplier_id) REFERENCES public.supplier(supplier_id);
ALTER TABLE ONLY public.kyb_section
    ADD CONSTRAINT kyb_section_supplier_id_fkey FOREIGN KEY (supplier_id) REFERENCES public.supplier(supplier_id);
ALTER TABLE ONLY public.kyb_submission
    ADD CONSTRAINT kyb_submission_supplier_id_fkey FOREIGN KEY (supplier_id) REFERENCES public.supplier(supplier_id);
ALTER TABLE ONLY public.market_conviction
    ADD CONSTRAINT market_conviction_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES public.market_offer(offer_id);
ALTER TABLE ONLY public.market_credit
    ADD CONSTRAINT market_credit_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.market_account(account_id);
ALTER TABLE ONLY public.market_dispute
    ADD CONSTRAINT market_dispute_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES public.market_offer(offer_id);
ALTER TABLE ONLY public.market_dispute
    ADD CONSTRAINT market_dispute_sale_id_fkey FOREIGN KEY (sale_id) REFERENCES public.market_sale(sale_id);
ALTER TABLE ONLY public.market_evidence
    ADD CONSTRAINT market_evidence_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES public.market_offer(offer_id);
ALTER TABLE ONLY public.market_job
    ADD CONSTRAINT market_job_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.market_account(account_id);
ALTER TABLE ONLY public.market_lapse
    ADD CONSTRAINT market_lapse_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES public.market_offer(offer_id);
ALTER TABLE ONLY public.market_offer_key
    ADD CONSTRAINT market_offer_key_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES public.market_offer(offer_id);
ALTER TABLE ONLY public.market_offer
    ADD CONSTRAINT market_offer_seller_fkey FOREIGN KEY (seller) REFERENCES public.market_seller(address);
ALTER TABLE ONLY public.x402_payment
    ADD CONSTRAINT market_payment_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.market_account(account_id);
ALTER TABLE ONLY public.market_probe_turn
    ADD CONSTRAINT market_probe_turn_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES public.market_offer(offer_id);
ALTER TABLE ONLY public.market_own_provider
    ADD CONSTRAINT market_provider_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.market_account(account_id);
ALTER TABLE ONLY public.market_own_provider_key
    ADD CONSTRAINT market_provider_key_provider_id_fkey FOREIGN KEY (provider_id) REFERENCES public.market_own_provider(provider_id);
ALTER TABLE ONLY public.market_refund
    ADD CONSTRAINT market_refund_conviction_id_fkey FOREIGN KEY (conviction_id) REFERENCES public.market_conviction(conviction_id);
ALTER TABLE ONLY public.market_refund
    ADD CONSTRAINT market_refund_credit_id_fkey FOREIGN KEY (credit_id) REFERENCES public.market_credit(credit_id);
ALTER TABLE ONLY public.market_refund
    ADD CONSTRAINT market_refund_sale_id_fkey FOREIGN KEY (sale_id) REFERENCES public.market_sale(sale_id);
ALTER TABLE ONLY public.market_sale
    ADD CONSTRAINT market_sale_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.market_account(account_id);
ALTER TABLE ONLY public.market_sale
    ADD CONSTRAINT market_sale_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES public.market_offer(offer_id);
ALTER TABLE ONLY public.market_withdrawal
    ADD CONSTRAINT market_withdrawal_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.market_account(account_id);
ALTER TABLE ONLY public.payout_item
    ADD CONSTRAINT payout_item_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES public.payout_batch(batch_id);
ALTER TABLE ONLY public.supplier_key
    ADD CONSTRAINT supplier_key_supplier_id_fkey FOREIGN KEY (supplier_id) REFERENCES public.supplier(supplier_id);
ALTER TABLE ONLY public.supplier_session
    ADD CONSTRAINT supplier_session_supplier_id_fkey FOREIGN KEY (supplier_id) REFERENCES public.supplier(supplier_id);
ALTER TABLE ONLY public.supplier_status_change
    ADD CONSTRAINT supplier_status_change_supplier_id_fkey FOREIGN KEY (supplier_id) REFERENCES public.supplier(supplier_id);
ALTER TABLE ONLY public.webhook_delivery
    ADD CONSTRAINT webhook_delivery_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES public.webhook(webhook_id);
