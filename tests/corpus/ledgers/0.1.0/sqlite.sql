BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0076');
CREATE TABLE api_call (
	call_id VARCHAR NOT NULL, 
	request_id VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	account_id VARCHAR NOT NULL, 
	key_id VARCHAR NOT NULL, 
	connection_id VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	payout_address VARCHAR NOT NULL, 
	operation VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	period_starts_at_s BIGINT NOT NULL, 
	units_max BIGINT NOT NULL, 
	price_usdc BIGINT NOT NULL, 
	is_flat BOOLEAN NOT NULL, 
	transaction_fee_usdc BIGINT NOT NULL, 
	ceiling_usdc BIGINT NOT NULL, 
	units BIGINT, 
	cost_usdc BIGINT, 
	earning_usdc BIGINT, 
	fee_usdc BIGINT, 
	status INTEGER, 
	void_reason VARCHAR, 
	is_api_failure BOOLEAN NOT NULL, 
	api_ms BIGINT, 
	whole_ms BIGINT, 
	reserved_at_s BIGINT NOT NULL, 
	lease_expires_at_s BIGINT NOT NULL, 
	holder_id VARCHAR, 
	resolved_at_s BIGINT, 
	payout_id VARCHAR, fee_bps BIGINT DEFAULT '1000' NOT NULL, count_on TEXT DEFAULT '2xx' NOT NULL, 
	PRIMARY KEY (call_id), 
	CONSTRAINT cost_when_posted CHECK ((state = 'posted') = (cost_usdc IS NOT NULL)), 
	CONSTRAINT state_known CHECK (state IN ('reserved','posted','voided')), 
	CONSTRAINT split_adds_up CHECK (cost_usdc = earning_usdc + fee_usdc AND earning_usdc >= 0 AND fee_usdc >= 0), 
	CONSTRAINT cost_fits CHECK (cost_usdc >= 0 AND cost_usdc <= ceiling_usdc), 
	CONSTRAINT units_fit CHECK (units >= 0 AND units <= units_max), 
	FOREIGN KEY(account_id) REFERENCES market_account (account_id), 
	FOREIGN KEY(connection_id) REFERENCES api_connection (connection_id), 
	CONSTRAINT api_call_attempt UNIQUE (request_id, attempt)
);
CREATE TABLE api_connection (
	connection_id VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	base_url TEXT NOT NULL, 
	terms TEXT NOT NULL, 
	payout_address VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	suspended_for TEXT, 
	version BIGINT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	changed_at_s BIGINT NOT NULL, 
	PRIMARY KEY (connection_id), 
	CONSTRAINT status_known CHECK (status IN ('enabled','disabled','deleted')), 
	FOREIGN KEY(owner) REFERENCES market_seller (address)
);
CREATE TABLE api_connection_key (
	connection_id VARCHAR NOT NULL, 
	ciphertext BLOB NOT NULL, 
	wrapped_key BLOB NOT NULL, 
	kms_key_id VARCHAR NOT NULL, 
	PRIMARY KEY (connection_id), 
	FOREIGN KEY(connection_id) REFERENCES api_connection (connection_id)
);
CREATE TABLE api_flag (
	connection_id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	flagged_at_s BIGINT NOT NULL, 
	PRIMARY KEY (connection_id, account_id, reason), 
	FOREIGN KEY(connection_id) REFERENCES api_connection (connection_id)
);
CREATE TABLE api_key (
	key_id VARCHAR NOT NULL, 
	token_id BIGINT NOT NULL, 
	key_epoch BIGINT NOT NULL, 
	issued_at_s BIGINT NOT NULL, 
	PRIMARY KEY (key_id)
);
INSERT INTO "api_key" VALUES('root',0,0,1800000000);
CREATE TABLE api_name (
	name VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	approved_at_s BIGINT NOT NULL, 
	PRIMARY KEY (name, owner)
);
CREATE TABLE api_period (
	connection_id VARCHAR NOT NULL, 
	starts_at_s BIGINT NOT NULL, 
	ends_at_s BIGINT NOT NULL, 
	for_sale_units BIGINT NOT NULL, 
	sold_units BIGINT NOT NULL, 
	reserved_units BIGINT NOT NULL, 
	own_units BIGINT NOT NULL, 
	lost_units BIGINT NOT NULL, carried_units BIGINT DEFAULT '0' NOT NULL, read_at_s BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (connection_id, starts_at_s), 
	CONSTRAINT fits CHECK (sold_units + reserved_units <= for_sale_units), 
	CONSTRAINT not_negative CHECK (sold_units >= 0 AND reserved_units >= 0), 
	FOREIGN KEY(connection_id) REFERENCES api_connection (connection_id)
);
CREATE TABLE audit_entry (
	entry_id VARCHAR NOT NULL, 
	actor VARCHAR NOT NULL, 
	action VARCHAR NOT NULL, 
	supplier_id VARCHAR, 
	subject VARCHAR NOT NULL, 
	at_s BIGINT NOT NULL, 
	PRIMARY KEY (entry_id)
);
CREATE TABLE batch (
	batch_id VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	receipts_root VARCHAR NOT NULL, 
	total_usdc BIGINT NOT NULL, 
	planned_at_s BIGINT NOT NULL, 
	settled_block BIGINT, 
	settled_tx_hash VARCHAR, given_up BOOLEAN DEFAULT 0 NOT NULL, archived_at_s BIGINT, archive_sha256 VARCHAR, 
	PRIMARY KEY (batch_id), 
	CONSTRAINT state_known CHECK (state IN ('planned','settled','abandoned'))
);
INSERT INTO "batch" VALUES('0xc8c6a903db1e85c9b7e6d62ac23669f54e1a857752349e610000000000000001','planned','0x07169eb4921c90ff1e739835f1eb08a8d79394485f00d0a5be2cfd8fb7c89421',7,1800000000,NULL,NULL,0,NULL,NULL);
CREATE TABLE batch_item (
	batch_id VARCHAR NOT NULL, 
	token_id BIGINT NOT NULL, 
	cost_usdc BIGINT NOT NULL, offset_usdc BIGINT DEFAULT '0' NOT NULL, archived_usdc BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (batch_id, token_id), 
	FOREIGN KEY(batch_id) REFERENCES batch (batch_id)
);
INSERT INTO "batch_item" VALUES('0xc8c6a903db1e85c9b7e6d62ac23669f54e1a857752349e610000000000000001',1,7,0,0);
CREATE TABLE batch_stray (
	request_id VARCHAR NOT NULL, 
	batch_id VARCHAR NOT NULL, 
	PRIMARY KEY (request_id, batch_id), 
	FOREIGN KEY(request_id) REFERENCES usage (request_id), 
	FOREIGN KEY(batch_id) REFERENCES batch (batch_id)
);
CREATE TABLE block (
	number BIGINT NOT NULL, 
	block_hash VARCHAR NOT NULL, 
	parent_hash VARCHAR NOT NULL, 
	timestamp_s BIGINT NOT NULL, 
	PRIMARY KEY (number)
);
CREATE TABLE child_key (
	key_id VARCHAR NOT NULL, 
	token_id BIGINT NOT NULL, 
	key_epoch BIGINT NOT NULL, 
	label VARCHAR NOT NULL, 
	models TEXT, 
	request_usdc_max BIGINT, 
	day_usdc_max BIGINT, 
	month_usdc_max BIGINT, 
	lifetime_usdc_max BIGINT, 
	requests_per_minute_max INTEGER, 
	concurrency_max INTEGER, 
	expires_at_s BIGINT, 
	created_at_s BIGINT NOT NULL, 
	revoked_at_s BIGINT, 
	generation INTEGER NOT NULL, 
	grace_until_s BIGINT NOT NULL, 
	day BIGINT NOT NULL, 
	day_used_usdc BIGINT NOT NULL, 
	month_used_usdc BIGINT NOT NULL, 
	used_usdc BIGINT NOT NULL, 
	minute BIGINT NOT NULL, 
	minute_requests INTEGER NOT NULL, 
	open_requests INTEGER NOT NULL, 
	PRIMARY KEY (key_id), 
	CONSTRAINT used_positive CHECK (day_used_usdc >= 0 AND month_used_usdc >= 0 AND used_usdc >= 0), 
	CONSTRAINT open_positive CHECK (open_requests >= 0)
);
INSERT INTO "child_key" VALUES('live',0,0,'live','["model"]',NULL,500,NULL,NULL,NULL,NULL,NULL,1800000000,NULL,0,0,20833,0,0,0,0,0,0);
INSERT INTO "child_key" VALUES('revoked',0,0,'revoked','["model"]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,1800000000,1800000000,0,0,20833,0,0,0,0,0,0);
CREATE TABLE demand (
	token_id BIGINT NOT NULL, 
	required_usdc BIGINT NOT NULL, 
	wanted_at_s BIGINT NOT NULL, 
	PRIMARY KEY (token_id)
);
CREATE TABLE deployment (
	chain_id BIGINT NOT NULL, 
	position VARCHAR NOT NULL, 
	adapter VARCHAR NOT NULL, 
	payouts VARCHAR NOT NULL, 
	block_number BIGINT NOT NULL, 
	block_hash VARCHAR NOT NULL, 
	batch_prefix VARCHAR NOT NULL, 
	next_batch_number BIGINT NOT NULL, 
	PRIMARY KEY (chain_id)
);
INSERT INTO "deployment" VALUES(31337,'0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1','0xa2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2','0xa3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3',1,'0x0101010101010101010101010101010101010101010101010101010101010101','c8c6a903db1e85c9b7e6d62ac23669f54e1a857752349e61',1);
CREATE TABLE event (
	block_number BIGINT NOT NULL, 
	log_index INTEGER NOT NULL, 
	block_hash BLOB NOT NULL, 
	block_timestamp_s BIGINT NOT NULL, 
	tx_hash BLOB NOT NULL, 
	contract VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	token_id BIGINT, 
	settled_batch_id VARCHAR, 
	words BLOB NOT NULL, 
	PRIMARY KEY (block_number, log_index)
)
 WITHOUT ROWID

;
CREATE TABLE hold_placement (
	intent_id VARCHAR NOT NULL, 
	token_id BIGINT NOT NULL, 
	amount_usdc BIGINT NOT NULL, 
	is_reduction BOOLEAN NOT NULL, 
	PRIMARY KEY (intent_id, token_id)
);
CREATE TABLE hold_raise (
	token_id BIGINT NOT NULL, 
	block_number BIGINT NOT NULL, 
	log_index INTEGER NOT NULL, 
	raised_usdc BIGINT NOT NULL, 
	expires_before_s BIGINT NOT NULL, 
	PRIMARY KEY (token_id, block_number, log_index)
);
CREATE TABLE intent (
	intent_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	payload TEXT NOT NULL, 
	sender VARCHAR, 
	nonce BIGINT, 
	tx_hash VARCHAR, 
	raw_tx TEXT, 
	mined_block BIGINT, 
	mined_block_hash VARCHAR, 
	gas_used BIGINT, 
	fee_wei VARCHAR(78), 
	error TEXT, 
	created_at_s BIGINT NOT NULL, 
	updated_at_s BIGINT NOT NULL, l1_fee_wei VARCHAR(78), 
	PRIMARY KEY (intent_id)
);
CREATE TABLE keeper_day (
	day INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	account VARCHAR NOT NULL, 
	gas_usdc BIGINT NOT NULL, 
	left_items BIGINT NOT NULL, 
	left_usdc BIGINT NOT NULL, 
	PRIMARY KEY (day, kind, account)
);
CREATE TABLE keeper_rest (
	kind VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	failures INTEGER NOT NULL, 
	until_s BIGINT NOT NULL, 
	PRIMARY KEY (kind, subject), 
	CONSTRAINT failed CHECK (failures > 0)
);
CREATE TABLE kept_answer (
	lookup_id VARCHAR NOT NULL, 
	body_digest VARCHAR NOT NULL, 
	request_id VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	sealed BLOB, 
	sealed_bytes BIGINT NOT NULL, 
	expires_at_s BIGINT NOT NULL, 
	PRIMARY KEY (lookup_id), 
	CONSTRAINT kept_state_known CHECK (state IN ('open','kept','dropped')), 
	CONSTRAINT kept_when_sealed CHECK ((state = 'kept') = (sealed IS NOT NULL))
);
CREATE TABLE key_policy (
	token_id BIGINT NOT NULL, 
	key_id VARCHAR NOT NULL, 
	policy TEXT, 
	changed_at_s BIGINT NOT NULL, 
	PRIMARY KEY (token_id, key_id)
);
CREATE TABLE kyb_decision (
	decision_id VARCHAR NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	version INTEGER NOT NULL, 
	reviewer VARCHAR NOT NULL, 
	decision VARCHAR NOT NULL, 
	is_final BOOLEAN NOT NULL, 
	items TEXT NOT NULL, 
	note TEXT NOT NULL, 
	decided_at_s BIGINT NOT NULL, 
	PRIMARY KEY (decision_id), 
	CONSTRAINT decision_known CHECK (decision IN ('approve','revise','reject','suspend','reinstate')), 
	FOREIGN KEY(supplier_id) REFERENCES supplier (supplier_id)
);
CREATE TABLE kyb_document (
	document_id VARCHAR NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	name TEXT NOT NULL, 
	media_type VARCHAR NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	ciphertext BLOB, 
	wrapped_key BLOB, 
	kms_key_id VARCHAR, 
	is_current BOOLEAN NOT NULL, 
	uploaded_at_s BIGINT NOT NULL, 
	erase_at_s BIGINT NOT NULL, 
	erased_at_s BIGINT, 
	PRIMARY KEY (document_id), 
	CONSTRAINT kind_known CHECK (kind IN ('business_license','bank_proof','tax_clearance','business_history')), 
	FOREIGN KEY(supplier_id) REFERENCES supplier (supplier_id)
);
CREATE TABLE kyb_identity (
	identity_id VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	key_id VARCHAR NOT NULL, 
	changed_at_s BIGINT NOT NULL, 
	PRIMARY KEY (identity_id), 
	CONSTRAINT kyb_identity_digest UNIQUE (digest, key_id)
);
CREATE TABLE kyb_owner (
	owner_id VARCHAR NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	position INTEGER NOT NULL, 
	legal_name TEXT NOT NULL, 
	nationality VARCHAR NOT NULL, 
	id_type VARCHAR NOT NULL, 
	identity_id VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	share_bps INTEGER NOT NULL, 
	PRIMARY KEY (owner_id), 
	CONSTRAINT share_in_range CHECK (share_bps BETWEEN 0 AND 10000), 
	FOREIGN KEY(identity_id) REFERENCES kyb_identity (identity_id), 
	FOREIGN KEY(supplier_id) REFERENCES supplier (supplier_id)
);
CREATE TABLE kyb_section (
	supplier_id VARCHAR NOT NULL, 
	section VARCHAR NOT NULL, 
	content TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	saved_at_s BIGINT NOT NULL, 
	PRIMARY KEY (supplier_id, section), 
	CONSTRAINT section_known CHECK (section IN ('entity','owners','source')), 
	FOREIGN KEY(supplier_id) REFERENCES supplier (supplier_id)
);
CREATE TABLE kyb_submission (
	supplier_id VARCHAR NOT NULL, 
	version INTEGER NOT NULL, 
	content TEXT NOT NULL, 
	submitted_at_s BIGINT NOT NULL, 
	PRIMARY KEY (supplier_id, version), 
	FOREIGN KEY(supplier_id) REFERENCES supplier (supplier_id)
);
CREATE TABLE lease_holder (
	holder_id VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	beats BIGINT NOT NULL, 
	started_at_s BIGINT NOT NULL, 
	beat_at_s BIGINT NOT NULL, 
	PRIMARY KEY (holder_id)
);
CREATE TABLE ledger_restore (
	restore_id INTEGER NOT NULL, 
	since_s BIGINT NOT NULL, 
	backup_sha256 VARCHAR NOT NULL, 
	ended_keys TEXT, 
	PRIMARY KEY (restore_id)
);
CREATE TABLE market_account (
	account_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	wallet VARCHAR, 
	credited_usdc BIGINT NOT NULL, 
	spent_usdc BIGINT NOT NULL, 
	reserved_usdc BIGINT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	PRIMARY KEY (account_id), 
	CONSTRAINT kind_known CHECK (kind IN ('prepaid','operator')), 
	CONSTRAINT covered CHECK (spent_usdc + reserved_usdc <= credited_usdc), 
	CONSTRAINT not_negative CHECK (spent_usdc >= 0 AND reserved_usdc >= 0), 
	UNIQUE (wallet)
);
INSERT INTO "market_account" VALUES('b','prepaid','0xb',1000000000000000,150,0,1000);
CREATE TABLE market_artifact (
	artifact_id VARCHAR NOT NULL, 
	sale_id VARCHAR NOT NULL, 
	offer_id VARCHAR NOT NULL, 
	url TEXT NOT NULL, 
	expires_at_s BIGINT NOT NULL, 
	PRIMARY KEY (artifact_id)
);
CREATE TABLE market_conviction (
	conviction_id VARCHAR NOT NULL, 
	offer_id VARCHAR NOT NULL, 
	seller VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	evidence TEXT NOT NULL, 
	counts_from_s BIGINT NOT NULL, 
	refunds_from_s BIGINT NOT NULL, 
	convicted_at_s BIGINT NOT NULL, 
	ended_at_s BIGINT, 
	PRIMARY KEY (conviction_id), 
	FOREIGN KEY(offer_id) REFERENCES market_offer (offer_id), 
	CONSTRAINT market_conviction_once UNIQUE (offer_id, counts_from_s), 
	CONSTRAINT state_known CHECK (state IN ('open','refunded','overturned'))
);
CREATE TABLE market_credit (
	credit_id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	amount_usdc BIGINT NOT NULL, 
	source VARCHAR NOT NULL, 
	credited_at_s BIGINT NOT NULL, 
	PRIMARY KEY (credit_id), 
	FOREIGN KEY(account_id) REFERENCES market_account (account_id)
);
INSERT INTO "market_credit" VALUES('c','b',1000000000000000,'test',1000);
CREATE TABLE market_dispute (
	dispute_id VARCHAR NOT NULL, 
	offer_id VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	asked_by VARCHAR NOT NULL, 
	sale_id VARCHAR, 
	reason TEXT NOT NULL, 
	filed_at_s BIGINT NOT NULL, 
	PRIMARY KEY (dispute_id), 
	FOREIGN KEY(offer_id) REFERENCES market_offer (offer_id), 
	FOREIGN KEY(sale_id) REFERENCES market_sale (sale_id), 
	CONSTRAINT market_dispute_once UNIQUE (sale_id)
);
CREATE TABLE market_evidence (
	evidence_id VARCHAR NOT NULL, 
	offer_id VARCHAR NOT NULL, 
	offer_version BIGINT NOT NULL, 
	model VARCHAR NOT NULL, 
	method VARCHAR NOT NULL, 
	day BIGINT NOT NULL, 
	made_at_s BIGINT NOT NULL, 
	observed TEXT NOT NULL, 
	transcript TEXT NOT NULL, 
	transcript_hash VARCHAR NOT NULL, 
	cost_usdc BIGINT NOT NULL, 
	looks BIGINT NOT NULL, 
	peak_milli BIGINT NOT NULL, 
	PRIMARY KEY (evidence_id), 
	FOREIGN KEY(offer_id) REFERENCES market_offer (offer_id), 
	CONSTRAINT method_known CHECK (method IN ('first_token','border','prompt_tokens','tool_calls','completion_tokens','logprobs')), 
	CONSTRAINT wealth_makes_sense CHECK (looks > 0 AND peak_milli >= 1000 AND cost_usdc >= 0)
);
CREATE TABLE market_job (
	job_id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	endpoint VARCHAR NOT NULL, 
	scope VARCHAR NOT NULL, 
	idempotency_key VARCHAR, 
	request_digest VARCHAR, 
	model VARCHAR NOT NULL, 
	sale_id VARCHAR NOT NULL, 
	offer_id VARCHAR NOT NULL, 
	upstream_id TEXT, 
	state VARCHAR NOT NULL, 
	error_code VARCHAR, 
	result TEXT, 
	quantity BIGINT NOT NULL, 
	flat_fee_usdc BIGINT NOT NULL, 
	polls_failed INTEGER NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	deadline_s BIGINT NOT NULL, 
	next_poll_at_s BIGINT NOT NULL, 
	resolved_at_s BIGINT, 
	PRIMARY KEY (job_id), 
	CONSTRAINT state_known CHECK (state IN ('submitting','queued','in_progress','completed','failed','cancelled','expired')), 
	FOREIGN KEY(account_id) REFERENCES market_account (account_id), 
	CONSTRAINT market_job_once UNIQUE (account_id, endpoint, scope, idempotency_key)
);
CREATE TABLE market_key (
	key_id VARCHAR NOT NULL, 
	key_hash VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	label VARCHAR NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	expires_at_s BIGINT, 
	revoked_at_s BIGINT, trusted_only BOOLEAN, 
	PRIMARY KEY (key_id), 
	CONSTRAINT kind_known CHECK (kind IN ('seller','buyer')), 
	UNIQUE (key_hash)
);
INSERT INTO "market_key" VALUES('k','h','buyer','b','',1000,NULL,NULL,NULL);
CREATE TABLE market_lapse (
	offer_id VARCHAR NOT NULL, 
	resets_at_s BIGINT NOT NULL, 
	seller VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	starts_at_s BIGINT NOT NULL, 
	quota_usdc BIGINT NOT NULL, 
	sold_usdc BIGINT NOT NULL, 
	lapsed_usdc BIGINT NOT NULL, 
	PRIMARY KEY (offer_id, resets_at_s), 
	CONSTRAINT adds_up CHECK (quota_usdc = sold_usdc + lapsed_usdc), 
	CONSTRAINT not_negative CHECK (sold_usdc >= 0 AND lapsed_usdc >= 0), 
	FOREIGN KEY(offer_id) REFERENCES market_offer (offer_id)
);
CREATE TABLE market_nonce (
	nonce VARCHAR NOT NULL, 
	expires_at_s BIGINT NOT NULL, 
	PRIMARY KEY (nonce)
);
CREATE TABLE market_offer (
	offer_id VARCHAR NOT NULL, 
	seller VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	upstream_model VARCHAR NOT NULL, 
	label VARCHAR NOT NULL, 
	seller_base_url TEXT NOT NULL, 
	price_input_usdc_per_mtok BIGINT, 
	price_output_usdc_per_mtok BIGINT, 
	cost_multiplier_ppm BIGINT, 
	cap_daily_usdc BIGINT, 
	quota_total_usdc BIGINT, 
	rate_limit_rpm INTEGER, 
	payout_address VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	version BIGINT NOT NULL, 
	day BIGINT NOT NULL, 
	day_used_usdc BIGINT NOT NULL, 
	total_used_usdc BIGINT NOT NULL, 
	idempotency_key VARCHAR, 
	request_digest VARCHAR, 
	created_at_s BIGINT NOT NULL, 
	changed_at_s BIGINT NOT NULL, unit VARCHAR, price_cached_input_usdc_per_mtok BIGINT, price_per_request_usdc BIGINT, price_tiers TEXT, suspended_for TEXT, supply_offer_id VARCHAR, quota_resets_at_s BIGINT, falls_from_s BIGINT, floor_pct INTEGER, declares TEXT, doubted_at_s BIGINT, tested_from_s BIGINT, 
	PRIMARY KEY (offer_id), 
	CONSTRAINT status_known CHECK (status IN ('active','paused','deleted')), 
	CONSTRAINT priced_one_way CHECK ((cost_multiplier_ppm IS NULL) = (price_input_usdc_per_mtok IS NOT NULL AND price_output_usdc_per_mtok IS NOT NULL)), 
	CONSTRAINT not_negative CHECK (day_used_usdc >= 0 AND total_used_usdc >= 0), 
	FOREIGN KEY(seller) REFERENCES market_seller (address), 
	CONSTRAINT market_offer_once UNIQUE (seller, idempotency_key)
);
INSERT INTO "market_offer" VALUES('so-m','s','m','m','','https://s.example/v1',150000,150000,NULL,NULL,NULL,NULL,'','active',1,20833,150,150,NULL,NULL,1000,1000,NULL,NULL,NULL,NULL,NULL,'so',NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE market_offer_key (
	offer_id VARCHAR NOT NULL, 
	ciphertext BLOB NOT NULL, 
	wrapped_key BLOB NOT NULL, 
	kms_key_id VARCHAR NOT NULL, 
	PRIMARY KEY (offer_id), 
	FOREIGN KEY(offer_id) REFERENCES market_offer (offer_id)
);
INSERT INTO "market_offer_key" VALUES('so-m',X'63',X'77','kms');
CREATE TABLE "market_own_provider" (
	provider_id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	label VARCHAR NOT NULL, 
	base_url TEXT NOT NULL, 
	models TEXT NOT NULL, 
	position VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	version BIGINT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	changed_at_s BIGINT NOT NULL, 
	PRIMARY KEY (provider_id), 
	CONSTRAINT position_known CHECK (position IN ('priority','fallback')), 
	CONSTRAINT status_known CHECK (status IN ('active','paused','deleted')), 
	FOREIGN KEY(account_id) REFERENCES market_account (account_id)
);
CREATE TABLE "market_own_provider_key" (
	provider_id VARCHAR NOT NULL, 
	ciphertext BLOB NOT NULL, 
	wrapped_key BLOB NOT NULL, 
	kms_key_id VARCHAR NOT NULL, 
	PRIMARY KEY (provider_id), 
	FOREIGN KEY(provider_id) REFERENCES "market_own_provider" (provider_id)
);
CREATE TABLE market_payout (
	payout_id VARCHAR NOT NULL, 
	seller VARCHAR NOT NULL, 
	payee VARCHAR NOT NULL, 
	amount_usdc BIGINT NOT NULL, 
	planned_at_s BIGINT NOT NULL, batch_id VARCHAR, 
	PRIMARY KEY (payout_id), 
	CONSTRAINT amount_positive CHECK (amount_usdc > 0)
);
CREATE TABLE market_probe_turn (
	offer_id VARCHAR NOT NULL, 
	until_s BIGINT NOT NULL, booked_usdc BIGINT DEFAULT '0' NOT NULL, booked_at_s BIGINT DEFAULT '0' NOT NULL, disputed_usdc BIGINT DEFAULT '0' NOT NULL, disputed_day BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (offer_id), 
	FOREIGN KEY(offer_id) REFERENCES market_offer (offer_id)
);
CREATE TABLE market_refund (
	sale_id VARCHAR NOT NULL, 
	conviction_id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	credit_id VARCHAR NOT NULL, 
	amount_usdc BIGINT NOT NULL, 
	earning_usdc BIGINT NOT NULL, 
	is_borne BOOLEAN NOT NULL, 
	refunded_at_s BIGINT NOT NULL, 
	PRIMARY KEY (sale_id), 
	FOREIGN KEY(sale_id) REFERENCES market_sale (sale_id), 
	FOREIGN KEY(conviction_id) REFERENCES market_conviction (conviction_id), 
	FOREIGN KEY(credit_id) REFERENCES market_credit (credit_id), 
	CONSTRAINT something_is_refunded CHECK (amount_usdc > 0 AND earning_usdc >= 0)
);
CREATE TABLE market_sale (
	sale_id VARCHAR NOT NULL, 
	request_id VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	account_id VARCHAR NOT NULL, 
	key_id VARCHAR NOT NULL, 
	offer_id VARCHAR NOT NULL, 
	seller VARCHAR NOT NULL, 
	payout_address VARCHAR NOT NULL, 
	endpoint VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	input_usdc_per_mtok BIGINT NOT NULL, 
	output_usdc_per_mtok BIGINT NOT NULL, 
	fee_bps INTEGER NOT NULL, 
	ceiling_usdc BIGINT NOT NULL, 
	prompt_tokens BIGINT, 
	completion_tokens BIGINT, 
	cost_usdc BIGINT, 
	earning_usdc BIGINT, 
	fee_usdc BIGINT, 
	margin_usdc BIGINT, 
	void_reason VARCHAR, 
	is_seller_failure BOOLEAN NOT NULL, 
	day BIGINT NOT NULL, 
	reserved_at_s BIGINT NOT NULL, 
	lease_expires_at_s BIGINT NOT NULL, 
	resolved_at_s BIGINT, 
	payout_id VARCHAR, unit VARCHAR, cached_input_usdc_per_mtok BIGINT, cached_tokens BIGINT, per_request_usdc BIGINT, holder_id VARCHAR, is_cut BOOLEAN, supply_offer_id VARCHAR, bound_tokens BIGINT, vesting_s BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (sale_id), 
	CONSTRAINT cost_when_posted CHECK ((state = 'posted') = (cost_usdc IS NOT NULL)), 
	CONSTRAINT state_known CHECK (state IN ('reserved','posted','voided')), 
	CONSTRAINT split_adds_up CHECK (cost_usdc = earning_usdc + fee_usdc + margin_usdc AND earning_usdc >= 0 AND fee_usdc >= 0 AND margin_usdc >= 0), 
	CONSTRAINT cost_fits CHECK (cost_usdc >= 0 AND cost_usdc <= ceiling_usdc), 
	FOREIGN KEY(account_id) REFERENCES market_account (account_id), 
	FOREIGN KEY(offer_id) REFERENCES market_offer (offer_id), 
	CONSTRAINT market_sale_attempt UNIQUE (request_id, attempt)
);
INSERT INTO "market_sale" VALUES('r00000001.0','r00000001',0,'b','k','so-m','s','','chat/completions','m','posted',150000,150000,1500,150,800,200,150,128,22,0,NULL,0,20833,1800000000,1800003600,1800000000,'so:20833',NULL,NULL,0,0,NULL,0,'so',1000,0);
CREATE TABLE market_seller (
	address VARCHAR NOT NULL, 
	fee_bps INTEGER, 
	payout_policy VARCHAR NOT NULL, 
	is_trusted BOOLEAN NOT NULL, 
	created_at_s BIGINT NOT NULL, decided_at_s BIGINT, note TEXT, 
	PRIMARY KEY (address), 
	CONSTRAINT policy_known CHECK (payout_policy IN ('at_once','daily')), 
	CONSTRAINT fee_in_range CHECK (fee_bps IS NULL OR fee_bps BETWEEN 0 AND 10000)
);
INSERT INTO "market_seller" VALUES('s',NULL,'at_once',0,1000,NULL,NULL);
CREATE TABLE market_withdrawal (
	withdrawal_id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	wallet VARCHAR NOT NULL, 
	amount_usdc BIGINT NOT NULL, 
	fee_usdc BIGINT NOT NULL, 
	nonce VARCHAR NOT NULL, 
	requested_at_s BIGINT NOT NULL, 
	PRIMARY KEY (withdrawal_id), 
	CONSTRAINT something_is_paid CHECK (fee_usdc >= 0 AND amount_usdc > fee_usdc), 
	FOREIGN KEY(account_id) REFERENCES market_account (account_id), 
	UNIQUE (nonce)
);
CREATE TABLE mirror (
	chain_id BIGINT NOT NULL, 
	block_number BIGINT NOT NULL, 
	block_hash VARCHAR NOT NULL, 
	block_timestamp_s BIGINT NOT NULL, 
	head_number BIGINT NOT NULL, 
	observed_at_s BIGINT NOT NULL, 
	PRIMARY KEY (chain_id)
);
INSERT INTO "mirror" VALUES(31337,10,'0x000000000000000000000000000000000000000000000000000000000000000a',1800000000,10,1800000000);
CREATE TABLE outbox_mail (
	mail_id VARCHAR NOT NULL, 
	to_address VARCHAR NOT NULL, 
	template VARCHAR NOT NULL, 
	facts TEXT NOT NULL, 
	token_purpose VARCHAR, 
	supplier_id VARCHAR, 
	once_key VARCHAR, 
	state VARCHAR NOT NULL, 
	tries INTEGER NOT NULL, 
	due_at_s BIGINT NOT NULL, 
	error VARCHAR, 
	created_at_s BIGINT NOT NULL, 
	sent_at_s BIGINT, 
	PRIMARY KEY (mail_id), 
	CONSTRAINT state_known CHECK (state IN ('waiting','sent','failed')), 
	UNIQUE (once_key)
);
CREATE TABLE payment_floor (
	floor_id INTEGER NOT NULL, 
	floor_usdc BIGINT NOT NULL, 
	before_usdc BIGINT NOT NULL, 
	changed_at_s BIGINT NOT NULL, 
	PRIMARY KEY (floor_id), 
	CONSTRAINT only_one CHECK (floor_id = 1), 
	CONSTRAINT not_negative CHECK (floor_usdc >= 0 AND before_usdc >= 0)
);
CREATE TABLE payout_batch (
	batch_id VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	total_usdc BIGINT NOT NULL, 
	planned_at_s BIGINT NOT NULL, 
	paid_block BIGINT, 
	paid_tx_hash VARCHAR, 
	PRIMARY KEY (batch_id), 
	CONSTRAINT state_known CHECK (state IN ('planned','sent','paid','abandoned'))
);
CREATE TABLE payout_item (
	batch_id VARCHAR NOT NULL, 
	payout_id VARCHAR NOT NULL, 
	payee VARCHAR NOT NULL, 
	amount_usdc BIGINT NOT NULL, 
	state VARCHAR NOT NULL, 
	PRIMARY KEY (batch_id, payout_id), 
	CONSTRAINT state_known CHECK (state IN ('planned','sent','paid','credited','freed')), 
	CONSTRAINT amount_positive CHECK (amount_usdc > 0), 
	FOREIGN KEY(batch_id) REFERENCES payout_batch (batch_id)
);
CREATE TABLE position (
	token_id BIGINT NOT NULL, 
	owner VARCHAR NOT NULL, 
	model_tier INTEGER NOT NULL, 
	daily_smoothing_bps INTEGER NOT NULL, 
	vault VARCHAR NOT NULL, 
	principal_usdc BIGINT NOT NULL, 
	shares VARCHAR(78) NOT NULL, 
	harvest_interval_s INTEGER NOT NULL, 
	last_harvest_at_s BIGINT NOT NULL, 
	key_epoch BIGINT NOT NULL, 
	credited_usdc BIGINT NOT NULL, 
	spent_usdc BIGINT NOT NULL, 
	withdrawn_usdc BIGINT NOT NULL, 
	hold_usdc BIGINT NOT NULL, 
	hold_expires_at_s BIGINT NOT NULL, 
	day BIGINT NOT NULL, 
	day_base_usdc BIGINT NOT NULL, 
	day_spent_usdc BIGINT NOT NULL, 
	release_requested_at_s BIGINT, 
	hold_unconfirmed_usdc BIGINT NOT NULL, 
	hold_confirmed_expires_at_s BIGINT NOT NULL, 
	drawn_usdc BIGINT NOT NULL, harvest_look_at_s BIGINT DEFAULT '0' NOT NULL, harvest_failures INTEGER DEFAULT '0' NOT NULL, harvest_sent_at_s BIGINT DEFAULT '0' NOT NULL, hold_placing_usdc BIGINT, 
	PRIMARY KEY (token_id), 
	CONSTRAINT drawn_not_negative CHECK (drawn_usdc >= 0), 
	CONSTRAINT hold_not_negative CHECK (hold_usdc >= 0), 
	CONSTRAINT solvent CHECK (spent_usdc + withdrawn_usdc <= credited_usdc)
);
INSERT INTO "position" VALUES(0,'0x1111111111111111111111111111111111111111',0,10000,'0xa6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6',1000000000,'000000000000000000000000000000000000000000000000000000001000000000000000000000',1800,1800000000,0,1000000,0,0,500000,1800007200,20833,1000000,0,NULL,0,1800007200,7,0,0,0,NULL);
INSERT INTO "position" VALUES(1,'0x1111111111111111111111111111111111111111',0,10000,'0xa6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6',1000000000,'000000000000000000000000000000000000000000000000000000001000000000000000000000',1800,1800000000,0,1000000,0,0,500000,1800007200,20833,1000000,0,NULL,0,1800007200,7,0,0,0,NULL);
INSERT INTO "position" VALUES(2,'0x1111111111111111111111111111111111111111',0,10000,'0xa6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6',1000000000,'000000000000000000000000000000000000000000000000000000001000000000000000000000',1800,1800000000,0,1000000,0,0,500000,1800007200,20833,1000000,0,NULL,0,1800007200,11,0,0,0,NULL);
CREATE TABLE schema_promise (
	promise_id INTEGER NOT NULL, 
	oldest_revision VARCHAR NOT NULL, 
	PRIMARY KEY (promise_id)
);
INSERT INTO "schema_promise" VALUES(1,'0076');
CREATE TABLE supplier (
	supplier_id VARCHAR NOT NULL, 
	email VARCHAR NOT NULL, 
	password_hash TEXT, 
	role VARCHAR NOT NULL, 
	kyb_status VARCHAR NOT NULL, 
	kyb_version INTEGER NOT NULL, 
	kyb_changed_at_s BIGINT NOT NULL, 
	legal_name TEXT, 
	registration_number VARCHAR, 
	fee_bps INTEGER, 
	totp_ciphertext BLOB, 
	totp_wrapped_key BLOB, 
	totp_kms_key_id VARCHAR, 
	totp_confirmed_at_s BIGINT, 
	totp_last_step BIGINT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	changed_at_s BIGINT NOT NULL, 
	PRIMARY KEY (supplier_id), 
	CONSTRAINT kyb_status_known CHECK (kyb_status IN ('draft', 'pending', 'under_review', 'revision_needed', 'approved', 'rejected', 'suspended')), 
	CONSTRAINT role_known CHECK (role IN ('supplier','reviewer','operator')), 
	CONSTRAINT totp_whole CHECK ((totp_ciphertext IS NULL) = (totp_wrapped_key IS NULL) AND (totp_ciphertext IS NULL) = (totp_kms_key_id IS NULL)), 
	CONSTRAINT fee_in_range CHECK (fee_bps IS NULL OR fee_bps BETWEEN 0 AND 10000), 
	UNIQUE (email)
);
INSERT INTO "supplier" VALUES('s','s@company.example',NULL,'supplier','approved',0,1001,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,1000,1001);
CREATE TABLE supplier_application (
	application_id VARCHAR NOT NULL, 
	email VARCHAR NOT NULL, 
	content TEXT NOT NULL, 
	mailed_at_s BIGINT NOT NULL, 
	verified_at_s BIGINT, 
	created_at_s BIGINT NOT NULL, 
	PRIMARY KEY (application_id), 
	UNIQUE (email)
);
CREATE TABLE supplier_key (
	key_id VARCHAR NOT NULL, 
	key_hash VARCHAR NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	label VARCHAR NOT NULL, 
	scopes VARCHAR NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	expires_at_s BIGINT, 
	revoked_at_s BIGINT, 
	PRIMARY KEY (key_id), 
	FOREIGN KEY(supplier_id) REFERENCES supplier (supplier_id), 
	UNIQUE (key_hash)
);
CREATE TABLE supplier_payouts (
	payout_id VARCHAR NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	day BIGINT NOT NULL, 
	first_day BIGINT NOT NULL, 
	status VARCHAR NOT NULL, 
	reason TEXT, 
	rail VARCHAR NOT NULL, 
	network VARCHAR NOT NULL, 
	asset VARCHAR NOT NULL, 
	address VARCHAR, 
	gross_usdc BIGINT NOT NULL, 
	fee_bps INTEGER NOT NULL, 
	fee_usdc BIGINT NOT NULL, 
	network_fee_usdc BIGINT NOT NULL, 
	carried_in_usdc BIGINT NOT NULL, 
	net_usdc BIGINT NOT NULL, 
	carried_out_usdc BIGINT NOT NULL, 
	usd_rate VARCHAR NOT NULL, 
	usd_rate_source VARCHAR NOT NULL, 
	usd_rate_at_s BIGINT NOT NULL, 
	requests BIGINT NOT NULL, 
	input_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	external_id VARCHAR, 
	external_batch VARCHAR, 
	external_state VARCHAR, 
	is_verified BOOLEAN NOT NULL, 
	tries INTEGER NOT NULL, 
	tx_hash VARCHAR, 
	next_try_at_s BIGINT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	submitted_at_s BIGINT, 
	sent_at_s BIGINT, 
	changed_at_s BIGINT NOT NULL, code_tries INTEGER DEFAULT '0' NOT NULL, retries INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (payout_id), 
	CONSTRAINT status_known CHECK (status IN ('carried','pending','address_pending_whitelist','submitted','sending','sent','failed','needs_operator')), 
	CONSTRAINT adds_up CHECK (gross_usdc - fee_usdc + carried_in_usdc = net_usdc + carried_out_usdc AND (net_usdc = 0 OR carried_out_usdc = 0) AND gross_usdc >= 0 AND fee_usdc >= 0 AND net_usdc >= 0 AND carried_out_usdc >= 0), 
	CONSTRAINT carried_pays_nothing CHECK ((status = 'carried') = (net_usdc = 0)), 
	CONSTRAINT supplier_payouts_once UNIQUE (supplier_id, day)
);
CREATE TABLE supplier_session (
	session_hash VARCHAR NOT NULL, 
	session_id VARCHAR NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	user_agent TEXT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	seen_at_s BIGINT NOT NULL, 
	expires_at_s BIGINT NOT NULL, 
	fresh_at_s BIGINT NOT NULL, 
	PRIMARY KEY (session_hash), 
	FOREIGN KEY(supplier_id) REFERENCES supplier (supplier_id), 
	UNIQUE (session_id)
);
CREATE TABLE supplier_status_change (
	change_id VARCHAR NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	kyb_status VARCHAR NOT NULL, 
	at_s BIGINT NOT NULL, 
	PRIMARY KEY (change_id), 
	CONSTRAINT kyb_status_known CHECK (kyb_status IN ('draft', 'pending', 'under_review', 'revision_needed', 'approved', 'rejected', 'suspended')), 
	FOREIGN KEY(supplier_id) REFERENCES supplier (supplier_id)
);
INSERT INTO "supplier_status_change" VALUES('s-0','s','draft',1000);
INSERT INTO "supplier_status_change" VALUES('s-1','s','approved',1001);
CREATE TABLE supplier_throttle (
	subject VARCHAR NOT NULL, 
	tries INTEGER NOT NULL, 
	started_at_s BIGINT NOT NULL, 
	ends_at_s BIGINT NOT NULL, 
	PRIMARY KEY (subject)
);
CREATE TABLE supplier_token (
	token_hash VARCHAR NOT NULL, 
	purpose VARCHAR NOT NULL, 
	email VARCHAR NOT NULL, 
	expires_at_s BIGINT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	PRIMARY KEY (token_hash), 
	CONSTRAINT purpose_known CHECK (purpose IN ('verify','sign_up','reset','undo'))
);
CREATE TABLE supply_account (
	supplier_id VARCHAR NOT NULL, 
	network VARCHAR, 
	carried_usdc BIGINT NOT NULL, 
	settled_day BIGINT NOT NULL, 
	PRIMARY KEY (supplier_id), 
	CONSTRAINT not_negative CHECK (carried_usdc >= 0)
);
INSERT INTO "supply_account" VALUES('s','base',0,-1);
CREATE TABLE supply_address (
	address_id VARCHAR NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	network VARCHAR NOT NULL, 
	address VARCHAR NOT NULL, 
	saved_at_s BIGINT NOT NULL, 
	counts_from_s BIGINT NOT NULL, cancelled_at_s BIGINT, 
	PRIMARY KEY (address_id)
);
INSERT INTO "supply_address" VALUES('s-00000000','s','base','0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed',1000,1000,NULL);
CREATE TABLE supply_day (
	supply_offer_id VARCHAR NOT NULL, 
	day BIGINT NOT NULL, 
	bid_usdc_per_mtok BIGINT NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	requests BIGINT NOT NULL, 
	input_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	paid_tokens BIGINT NOT NULL, 
	payout_id VARCHAR, 
	PRIMARY KEY (supply_offer_id, day, bid_usdc_per_mtok)
);
INSERT INTO "supply_day" VALUES('so',20833,150000,'s',1,800,200,1000,NULL);
CREATE TABLE supply_offer (
	supply_offer_id VARCHAR NOT NULL, 
	supplier_id VARCHAR NOT NULL, 
	provider_type VARCHAR NOT NULL, 
	model_list TEXT NOT NULL, 
	models_digest VARCHAR NOT NULL, 
	bid_usdc_per_mtok BIGINT NOT NULL, 
	base_url TEXT NOT NULL, 
	rate_limit_rpm INTEGER, 
	quota_tokens BIGINT, 
	legal_basis TEXT, 
	status VARCHAR NOT NULL, 
	version BIGINT NOT NULL, 
	key_version BIGINT NOT NULL, 
	recent TEXT NOT NULL, 
	used_tokens BIGINT NOT NULL, 
	reserved_tokens BIGINT NOT NULL, 
	probe_due_s BIGINT, 
	probe_ok BOOLEAN, 
	probe_report TEXT, 
	probed_at_s BIGINT, 
	created_at_s BIGINT NOT NULL, 
	changed_at_s BIGINT NOT NULL, 
	PRIMARY KEY (supply_offer_id), 
	CONSTRAINT status_known CHECK (status IN ('pending_probe','active','paused','probe_failed','exhausted','deleted')), 
	CONSTRAINT not_negative CHECK (used_tokens >= 0 AND reserved_tokens >= 0), 
	CONSTRAINT within_quota CHECK (quota_tokens IS NULL OR status = 'deleted' OR used_tokens + reserved_tokens <= quota_tokens)
);
INSERT INTO "supply_offer" VALUES('so','s','openai_compatible','["m"]','4182765a191207bfca29e38532e6f5939ea8276a528390c73c8eeba3ecc332c0',150000,'https://s.example/v1',NULL,NULL,NULL,'active',1,0,'',1000,0,NULL,1,'[{"model": "m", "ok": true}]',1000,1000,1000);
CREATE TABLE upstream_list (
	upstream_digest VARCHAR NOT NULL, 
	models TEXT NOT NULL, 
	prices TEXT NOT NULL, 
	heard_at_s BIGINT NOT NULL, 
	PRIMARY KEY (upstream_digest)
);
CREATE TABLE usage (
	request_id VARCHAR NOT NULL, 
	token_id BIGINT NOT NULL, 
	key_epoch BIGINT NOT NULL, 
	key_id VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	ceiling_usdc BIGINT NOT NULL, 
	cost_usdc BIGINT, 
	input_usdc_per_mtok BIGINT NOT NULL, 
	output_usdc_per_mtok BIGINT NOT NULL, 
	prompt_tokens BIGINT, 
	completion_tokens BIGINT, 
	reserved_at_s BIGINT NOT NULL, 
	lease_expires_at_s BIGINT NOT NULL, 
	resolved_at_s BIGINT, 
	batch_id VARCHAR, 
	void_reason VARCHAR, cached_input_usdc_per_mtok BIGINT, cached_tokens BIGINT, per_request_usdc BIGINT, holder_id VARCHAR, end_user VARCHAR, labels VARCHAR, served VARCHAR, 
	PRIMARY KEY (request_id), 
	CONSTRAINT cost_when_posted CHECK ((state IN ('reserved','voided')) = (cost_usdc IS NULL)), 
	CONSTRAINT batch_when_batched CHECK ((state IN ('settling','settled')) = (batch_id IS NOT NULL)), 
	CONSTRAINT state_known CHECK (state IN ('reserved','posted','settling','settled','voided','written_off')), 
	CONSTRAINT ceiling_not_negative CHECK (ceiling_usdc >= 0), 
	CONSTRAINT cost_fits CHECK (cost_usdc >= 0 AND cost_usdc <= ceiling_usdc)
);
INSERT INTO "usage" VALUES('settling',1,0,'key','model','settling',14,7,1,1,1,1,1800000000,1800000300,1800000000,'0xc8c6a903db1e85c9b7e6d62ac23669f54e1a857752349e610000000000000001',NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "usage" VALUES('posted',0,0,'key','model','posted',14,7,1,1,1,1,1800000000,1800000300,1800000000,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "usage" VALUES('reserved',2,0,'key','model','reserved',11,NULL,1,1,NULL,NULL,1800000000,1800000300,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "usage" VALUES('voided',2,0,'key','model','voided',11,NULL,1,1,NULL,NULL,1800000000,1800000300,1800000000,NULL,'test',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE usage_day (
	sum_id VARCHAR NOT NULL, 
	token_id BIGINT NOT NULL, 
	key_id VARCHAR NOT NULL, 
	day BIGINT NOT NULL, 
	model VARCHAR NOT NULL, 
	end_user VARCHAR, 
	labels TEXT, 
	requests BIGINT NOT NULL, 
	prompt_tokens BIGINT NOT NULL, 
	cached_tokens BIGINT NOT NULL, 
	completion_tokens BIGINT NOT NULL, 
	cost_usdc BIGINT NOT NULL, 
	PRIMARY KEY (sum_id)
);
CREATE TABLE used_nonce (
	nonce VARCHAR NOT NULL, 
	expires_at_s BIGINT NOT NULL, 
	PRIMARY KEY (nonce)
);
CREATE TABLE wallet_session (
	session_hash VARCHAR NOT NULL, 
	session_id VARCHAR NOT NULL, 
	address VARCHAR NOT NULL, 
	user_agent TEXT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	expires_at_s BIGINT NOT NULL, 
	PRIMARY KEY (session_hash), 
	UNIQUE (session_id)
);
CREATE TABLE webhook (
	webhook_id VARCHAR NOT NULL, 
	token_id BIGINT NOT NULL, 
	url TEXT NOT NULL, 
	events TEXT NOT NULL, 
	low_usdc BIGINT NOT NULL, 
	secret BLOB NOT NULL, 
	secret_before BLOB, 
	secret_before_until_s BIGINT NOT NULL, 
	seen TEXT NOT NULL, 
	next_number BIGINT NOT NULL, 
	busy_until_s BIGINT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	ended_at_s BIGINT, key_epoch BIGINT DEFAULT '0' NOT NULL, answer_ms BIGINT, 
	PRIMARY KEY (webhook_id)
);
CREATE TABLE webhook_delivery (
	delivery_id VARCHAR NOT NULL, 
	webhook_id VARCHAR NOT NULL, 
	number BIGINT NOT NULL, 
	message_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	state VARCHAR NOT NULL, 
	tries INTEGER NOT NULL, 
	next_try_at_s BIGINT NOT NULL, 
	created_at_s BIGINT NOT NULL, 
	ended_at_s BIGINT, 
	said TEXT, 
	PRIMARY KEY (delivery_id), 
	CONSTRAINT state_known CHECK (state IN ('waiting','delivered','failed')), 
	FOREIGN KEY(webhook_id) REFERENCES webhook (webhook_id), 
	CONSTRAINT webhook_delivery_once UNIQUE (webhook_id, number)
);
CREATE TABLE x402_payment (
	payment_id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	payer VARCHAR NOT NULL, 
	payee VARCHAR NOT NULL, 
	value_usdc BIGINT NOT NULL, 
	valid_after_s BIGINT NOT NULL, 
	valid_before_s BIGINT NOT NULL, 
	nonce VARCHAR NOT NULL, 
	signature TEXT NOT NULL, 
	purpose VARCHAR NOT NULL, 
	request_digest VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	error TEXT, 
	failures INTEGER NOT NULL, 
	look_at_s BIGINT NOT NULL, 
	from_block BIGINT NOT NULL, 
	intent_id VARCHAR, 
	tx_hash VARCHAR, 
	settled_block BIGINT, 
	settled_block_hash VARCHAR, 
	is_final BOOLEAN NOT NULL, 
	credited_usdc BIGINT NOT NULL, 
	request_id VARCHAR, 
	claimed_until_s BIGINT, 
	created_at_s BIGINT NOT NULL, 
	updated_at_s BIGINT NOT NULL, holder_id VARCHAR, failed_in_block_s BIGINT, 
	PRIMARY KEY (payment_id), 
	CONSTRAINT state_known CHECK (state IN ('verified','sent','settled','failed','expired')), 
	CONSTRAINT purpose_known CHECK (purpose IN ('request','topup')), 
	CONSTRAINT value_positive CHECK (value_usdc > 0), 
	CONSTRAINT credit_fits CHECK (credited_usdc BETWEEN 0 AND value_usdc), 
	FOREIGN KEY(account_id) REFERENCES market_account (account_id), 
	CONSTRAINT x402_payment_once UNIQUE (payer, nonce)
);
CREATE INDEX ix_api_key_token_id ON api_key (token_id);
CREATE INDEX usage_batch ON usage (batch_id);
CREATE INDEX usage_open ON usage (state, token_id);
CREATE INDEX usage_token ON usage (token_id, reserved_at_s);
CREATE INDEX event_token ON event (token_id, block_number, log_index) WHERE token_id IS NOT NULL;
CREATE INDEX event_batch ON event (settled_batch_id) WHERE settled_batch_id IS NOT NULL;
CREATE INDEX intent_nonce ON intent (sender, nonce);
CREATE UNIQUE INDEX intent_nonce_taken ON intent (sender, nonce) WHERE state IN ('planned', 'simulated', 'sent', 'mined', 'confirmed');
CREATE INDEX position_release ON position (token_id) WHERE release_requested_at_s IS NOT NULL;
CREATE INDEX demand_wanted ON demand (wanted_at_s);
CREATE INDEX child_key_token ON child_key (token_id, key_epoch);
CREATE INDEX ix_used_nonce_expires_at_s ON used_nonce (expires_at_s);
CREATE INDEX position_harvest_look ON position ((CASE WHEN harvest_look_at_s > last_harvest_at_s + harvest_interval_s THEN harvest_look_at_s ELSE last_harvest_at_s + harvest_interval_s END), token_id) WHERE shares > '000000000000000000000000000000000000000000000000000000000000000000000000000000';
CREATE INDEX event_contract ON event (name, block_number) WHERE token_id IS NULL;
CREATE UNIQUE INDEX payout_item_live ON payout_item (payout_id) WHERE state != 'freed';
CREATE INDEX ix_batch_stray_batch_id ON batch_stray (batch_id);
CREATE INDEX market_key_owner ON market_key (kind, owner);
CREATE INDEX ix_market_nonce_expires_at_s ON market_nonce (expires_at_s);
CREATE INDEX ix_market_payout_seller ON market_payout (seller);
CREATE INDEX ix_market_credit_account_id ON market_credit (account_id);
CREATE INDEX market_offer_changed ON market_offer (changed_at_s);
CREATE INDEX market_offer_seller ON market_offer (seller);
CREATE INDEX ix_market_offer_key_kms_key_id ON market_offer_key (kms_key_id);
CREATE INDEX ix_market_sale_offer_id ON market_sale (offer_id);
CREATE INDEX ix_market_sale_payout_id ON market_sale (payout_id);
CREATE INDEX market_sale_account ON market_sale (account_id, reserved_at_s);
CREATE INDEX market_sale_open ON market_sale (lease_expires_at_s) WHERE state = 'reserved';
CREATE INDEX market_sale_seller ON market_sale (seller, reserved_at_s);
CREATE INDEX market_sale_unpaid ON market_sale (payout_address) WHERE state = 'posted' AND payout_id IS NULL;
CREATE INDEX market_job_due ON market_job (next_poll_at_s) WHERE state IN ('submitting','queued','in_progress');
CREATE INDEX ix_market_artifact_expires_at_s ON market_artifact (expires_at_s);
CREATE INDEX market_payout_waits ON market_payout (planned_at_s, payout_id) WHERE batch_id IS NULL;
CREATE INDEX payout_batch_paid ON payout_batch (paid_block);
CREATE INDEX batch_open ON batch (batch_id) WHERE state = 'planned';
CREATE INDEX payout_batch_open ON payout_batch (batch_id) WHERE state IN ('planned', 'sent');
CREATE INDEX intent_open ON intent (intent_id) WHERE state IN ('planned', 'simulated', 'sent', 'mined');
CREATE INDEX hold_placement_token ON hold_placement (token_id);
CREATE INDEX market_own_provider_account ON market_own_provider (account_id);
CREATE INDEX market_own_provider_changed ON market_own_provider (changed_at_s);
CREATE INDEX ix_market_own_provider_key_kms_key_id ON market_own_provider_key (kms_key_id);
CREATE INDEX x402_payment_account ON x402_payment (account_id, payment_id);
CREATE INDEX x402_payment_open ON x402_payment (look_at_s) WHERE state IN ('verified','sent');
CREATE INDEX x402_payment_young ON x402_payment (settled_block) WHERE state = 'settled' AND is_final = false;
CREATE INDEX ix_kept_answer_expires_at_s ON kept_answer (expires_at_s);
CREATE INDEX kept_answer_of_owner ON kept_answer (owner, sealed_bytes);
CREATE INDEX x402_payment_holder ON x402_payment (holder_id, claimed_until_s) WHERE holder_id IS NOT NULL;
CREATE INDEX market_key_revoked ON market_key (revoked_at_s) WHERE revoked_at_s IS NOT NULL;
CREATE INDEX market_key_expiry ON market_key (expires_at_s) WHERE expires_at_s IS NOT NULL;
CREATE INDEX market_offer_deleted ON market_offer (changed_at_s) WHERE status = 'deleted';
CREATE INDEX market_own_provider_deleted ON market_own_provider (changed_at_s) WHERE status = 'deleted';
CREATE INDEX x402_payment_dead ON x402_payment (updated_at_s) WHERE state IN ('failed','expired');
CREATE INDEX market_account_empty ON market_account (created_at_s) WHERE credited_usdc = 0 AND kind = 'prepaid';
CREATE INDEX market_seller_created ON market_seller (created_at_s);
CREATE INDEX audit_entry_supplier ON audit_entry (supplier_id, entry_id);
CREATE INDEX ix_kyb_identity_key_id ON kyb_identity (key_id);
CREATE INDEX ix_outbox_mail_supplier_id ON outbox_mail (supplier_id);
CREATE INDEX outbox_mail_created ON outbox_mail (created_at_s);
CREATE INDEX outbox_mail_due ON outbox_mail (due_at_s) WHERE state = 'waiting';
CREATE INDEX supplier_changed ON supplier (changed_at_s);
CREATE INDEX supplier_under_review ON supplier (kyb_changed_at_s) WHERE kyb_status = 'under_review';
CREATE INDEX ix_supplier_application_created_at_s ON supplier_application (created_at_s);
CREATE INDEX ix_supplier_throttle_ends_at_s ON supplier_throttle (ends_at_s);
CREATE INDEX kyb_decision_of ON kyb_decision (supplier_id, version);
CREATE INDEX kyb_document_erase ON kyb_document (erase_at_s) WHERE ciphertext IS NOT NULL;
CREATE INDEX kyb_document_kms_key ON kyb_document (kms_key_id);
CREATE INDEX kyb_document_of ON kyb_document (supplier_id, kind);
CREATE INDEX kyb_owner_identity ON kyb_owner (identity_id);
CREATE INDEX kyb_owner_of ON kyb_owner (supplier_id, position);
CREATE INDEX supplier_key_of ON supplier_key (supplier_id);
CREATE INDEX ix_supplier_session_expires_at_s ON supplier_session (expires_at_s);
CREATE INDEX supplier_session_of ON supplier_session (supplier_id);
CREATE INDEX supplier_status_change_at ON supplier_status_change (supplier_id, at_s);
CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry BEGIN SELECT RAISE(ABORT, 'rows here are only added'); END;
CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry BEGIN SELECT RAISE(ABORT, 'rows here are only added'); END;
CREATE TRIGGER kyb_decision_no_update BEFORE UPDATE ON kyb_decision BEGIN SELECT RAISE(ABORT, 'rows here are only added'); END;
CREATE TRIGGER kyb_decision_no_delete BEFORE DELETE ON kyb_decision BEGIN SELECT RAISE(ABORT, 'rows here are only added'); END;
CREATE TRIGGER kyb_submission_no_update BEFORE UPDATE ON kyb_submission BEGIN SELECT RAISE(ABORT, 'rows here are only added'); END;
CREATE TRIGGER kyb_submission_no_delete BEFORE DELETE ON kyb_submission BEGIN SELECT RAISE(ABORT, 'rows here are only added'); END;
CREATE TRIGGER supplier_status_change_no_update BEFORE UPDATE ON supplier_status_change BEGIN SELECT RAISE(ABORT, 'rows here are only added'); END;
CREATE TRIGGER supplier_status_change_no_delete BEFORE DELETE ON supplier_status_change BEGIN SELECT RAISE(ABORT, 'rows here are only added'); END;
CREATE INDEX market_offer_supply ON market_offer (supply_offer_id) WHERE supply_offer_id IS NOT NULL;
CREATE UNIQUE INDEX supply_offer_once ON supply_offer (supplier_id, provider_type, models_digest, bid_usdc_per_mtok) WHERE status <> 'deleted';
CREATE INDEX supply_offer_supplier ON supply_offer (supplier_id, supply_offer_id);
CREATE INDEX supply_offer_probe ON supply_offer (probe_due_s) WHERE probe_due_s IS NOT NULL;
CREATE INDEX supply_day_supplier ON supply_day (supplier_id, day);
CREATE INDEX supply_day_open ON supply_day (day, supplier_id) WHERE payout_id IS NULL;
CREATE INDEX supply_account_settled ON supply_account (settled_day);
CREATE INDEX supply_account_carries ON supply_account (supplier_id) WHERE carried_usdc > 0;
CREATE INDEX supply_address_of ON supply_address (supplier_id, network, counts_from_s);
CREATE INDEX supplier_payouts_of ON supplier_payouts (supplier_id, payout_id);
CREATE INDEX supplier_payouts_external ON supplier_payouts (external_id);
CREATE INDEX api_connection_changed ON api_connection (changed_at_s);
CREATE UNIQUE INDEX api_connection_name ON api_connection (owner, name) WHERE status != 'deleted';
CREATE INDEX api_connection_owner ON api_connection (owner);
CREATE INDEX ix_api_connection_key_kms_key_id ON api_connection_key (kms_key_id);
CREATE INDEX api_call_account ON api_call (account_id, call_id);
CREATE INDEX api_call_connection ON api_call (connection_id, call_id);
CREATE INDEX api_call_open ON api_call (lease_expires_at_s) WHERE state = 'reserved';
CREATE INDEX api_call_owner ON api_call (owner, call_id);
CREATE INDEX api_call_unpaid ON api_call (payout_address) WHERE state = 'posted' AND payout_id IS NULL;
CREATE INDEX ix_api_call_payout_id ON api_call (payout_id);
CREATE INDEX wallet_session_of ON wallet_session (address);
CREATE INDEX ix_wallet_session_expires_at_s ON wallet_session (expires_at_s);
CREATE INDEX supplier_payouts_underway ON supplier_payouts (next_try_at_s) WHERE status IN ('pending','address_pending_whitelist','submitted','sending','needs_operator','failed');
CREATE INDEX ix_supplier_token_expires_at_s ON supplier_token (expires_at_s);
CREATE INDEX supplier_token_email ON supplier_token (email, purpose);
CREATE INDEX market_withdrawal_account ON market_withdrawal (account_id, withdrawal_id);
CREATE INDEX market_offer_expires ON market_offer (quota_resets_at_s) WHERE quota_resets_at_s IS NOT NULL;
CREATE INDEX market_lapse_seller ON market_lapse (seller, resets_at_s);
CREATE INDEX ix_key_policy_changed_at_s ON key_policy (changed_at_s);
CREATE INDEX webhook_token ON webhook (token_id);
CREATE INDEX webhook_delivery_due ON webhook_delivery (state, next_try_at_s);
CREATE INDEX market_conviction_seller ON market_conviction (seller);
CREATE INDEX market_refund_conviction ON market_refund (conviction_id);
CREATE INDEX market_refund_credit ON market_refund (credit_id);
CREATE INDEX market_dispute_asked ON market_dispute (asked_by, filed_at_s);
CREATE INDEX market_dispute_filed ON market_dispute (filed_at_s);
CREATE INDEX market_dispute_offer ON market_dispute (offer_id);
CREATE INDEX usage_day_token ON usage_day (token_id, day);
CREATE INDEX market_evidence_offer ON market_evidence (offer_id, made_at_s);
CREATE INDEX market_evidence_model ON market_evidence (model, made_at_s);
CREATE INDEX market_evidence_day ON market_evidence (day);
COMMIT;
