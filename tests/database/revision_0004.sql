BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE alerts (
	id TEXT NOT NULL, 
	rule TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	fired_at DATETIME NOT NULL, 
	well_since DATETIME, 
	resolved_at DATETIME, 
	detail TEXT NOT NULL, 
	figures JSON NOT NULL, 
	CONSTRAINT pk_alerts PRIMARY KEY (id)
);
CREATE TABLE audit (
	number INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	actor TEXT NOT NULL, 
	action TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	from_value TEXT NOT NULL, 
	to_value TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	evidence JSON NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (number)
);
INSERT INTO "audit" VALUES(1,'2026-11-26 14:36:21.882308','ann','register','v-8c399f84f40b','','v-8c399f84f40b','calls-first','{"dataset_id": null, "job_id": null}');
INSERT INTO "audit" VALUES(2,'2026-11-26 14:36:21.892159','ann','deploy','production','','v-8c399f84f40b','the first model','{}');
INSERT INTO "audit" VALUES(3,'2026-11-26 14:36:22.190310','ann','correct','inf-1a218493a7a194295ac42','press pound','please hold 0','manual','{}');
INSERT INTO "audit" VALUES(4,'2026-11-26 14:36:22.190324','ann','correct','inf-1a218493a9088116f41ff','press pound','please hold 1','manual','{}');
INSERT INTO "audit" VALUES(5,'2026-11-26 14:36:22.190332','ann','correct','inf-1a218493a900964b78236','press pound','please hold 2','manual','{}');
INSERT INTO "audit" VALUES(6,'2026-11-26 14:36:22.190340','ann','correct','inf-1a218493a912ea855a03d','press pound','please hold 3','manual','{}');
INSERT INTO "audit" VALUES(7,'2026-11-26 14:36:22.190347','ann','correct','inf-1a218493a91250319c09f','press pound','please hold 4','manual','{}');
INSERT INTO "audit" VALUES(8,'2026-11-26 14:36:22.190356','ann','correct','inf-1a218493a91fff0a025b6','press pound','please hold 5','manual','{}');
INSERT INTO "audit" VALUES(9,'2026-11-26 14:36:22.300559','ann','register','v-1a218493b7e447a8ab6fa','v-8c399f84f40b','v-1a218493b7e447a8ab6fa','tuned','{"dataset_id": null, "job_id": null}');
INSERT INTO "audit" VALUES(10,'2026-11-26 14:36:22.473951','ann','approve','cycle-1a218493b7e447a8ab6fa','','','','{"cycle_id": "cycle-1a218493b7e447a8ab6fa", "validation_id": "val-1a218493b7e447a8ab6fa"}');
INSERT INTO "audit" VALUES(11,'2026-11-26 14:36:22.477420','ann','deploy','production','v-8c399f84f40b','v-1a218493b7e447a8ab6fa','approved by ann','{"cycle_id": "cycle-1a218493b7e447a8ab6fa", "validation_id": "val-1a218493b7e447a8ab6fa"}');
INSERT INTO "audit" VALUES(12,'2026-11-26 14:36:22.498832','ann','create_token','app','','transcribe','','{"token_id": "83925dc2ef0c", "rate_per_minute": null, "expires_at": null}');
CREATE TABLE case_types (
	case_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	given BOOLEAN NOT NULL, 
	CONSTRAINT pk_case_types PRIMARY KEY (case_id, name, given), 
	CONSTRAINT fk_case_types_case_id_error_cases FOREIGN KEY(case_id) REFERENCES error_cases (id)
);
INSERT INTO "case_types" VALUES('case-1a218493b16d2ea5e26e1','substitution',0);
INSERT INTO "case_types" VALUES('case-1a218493b16d2ea5e26e1','deletion',0);
INSERT INTO "case_types" VALUES('case-1a218493b1d3d8ba521d2','substitution',0);
INSERT INTO "case_types" VALUES('case-1a218493b1d3d8ba521d2','deletion',0);
INSERT INTO "case_types" VALUES('case-1a218493b216121c15f92','substitution',0);
INSERT INTO "case_types" VALUES('case-1a218493b216121c15f92','deletion',0);
INSERT INTO "case_types" VALUES('case-1a218493b24e3ceaf26ff','substitution',0);
INSERT INTO "case_types" VALUES('case-1a218493b24e3ceaf26ff','deletion',0);
INSERT INTO "case_types" VALUES('case-1a218493b285cd4080a3e','substitution',0);
INSERT INTO "case_types" VALUES('case-1a218493b285cd4080a3e','deletion',0);
INSERT INTO "case_types" VALUES('case-1a218493b2bfded8b03be','substitution',0);
INSERT INTO "case_types" VALUES('case-1a218493b2bfded8b03be','deletion',0);
CREATE TABLE corrections (
	number INTEGER NOT NULL, 
	inference_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	reference TEXT NOT NULL, 
	is_error BOOLEAN NOT NULL, 
	author TEXT NOT NULL, 
	method TEXT NOT NULL, 
	details JSON NOT NULL, 
	CONSTRAINT pk_corrections PRIMARY KEY (number), 
	CONSTRAINT fk_corrections_inference_id_inferences FOREIGN KEY(inference_id) REFERENCES inferences (id)
);
INSERT INTO "corrections" VALUES(1,'inf-1a218493a7a194295ac42','2026-11-26 14:36:22.153057','please hold 0',1,'ann','manual','{}');
INSERT INTO "corrections" VALUES(2,'inf-1a218493a9088116f41ff','2026-11-26 14:36:22.153094','please hold 1',1,'ann','manual','{}');
INSERT INTO "corrections" VALUES(3,'inf-1a218493a900964b78236','2026-11-26 14:36:22.153116','please hold 2',1,'ann','manual','{}');
INSERT INTO "corrections" VALUES(4,'inf-1a218493a912ea855a03d','2026-11-26 14:36:22.153135','please hold 3',1,'ann','manual','{}');
INSERT INTO "corrections" VALUES(5,'inf-1a218493a91250319c09f','2026-11-26 14:36:22.153154','please hold 4',1,'ann','manual','{}');
INSERT INTO "corrections" VALUES(6,'inf-1a218493a91fff0a025b6','2026-11-26 14:36:22.153187','please hold 5',1,'ann','manual','{}');
CREATE TABLE cycle_steps (
	number INTEGER NOT NULL, 
	cycle_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	from_state TEXT NOT NULL, 
	to_state TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	CONSTRAINT pk_cycle_steps PRIMARY KEY (number), 
	CONSTRAINT fk_cycle_steps_cycle_id_cycles FOREIGN KEY(cycle_id) REFERENCES cycles (id)
);
INSERT INTO "cycle_steps" VALUES(1,'cycle-1a218493b7e447a8ab6fa','2026-11-26 14:36:22.275188','','triggered','6 corrected cases of 2 wanted; 6 error cases of 2 wanted');
INSERT INTO "cycle_steps" VALUES(2,'cycle-1a218493b7e447a8ab6fa','2026-11-26 14:36:22.304745','triggered','converted','v-1a218493b7e447a8ab6fa');
INSERT INTO "cycle_steps" VALUES(3,'cycle-1a218493b7e447a8ab6fa','2026-11-26 14:36:22.423260','converted','validated','WER 23.33% → 0.00% on 60 words, an improvement of 23.33%; CER 15.09% → 0.00%; WER rises by more than 0.2 on 0 of 20 utterances; none of 1 slices is worse by more than chance; 0.002 s of compute for a second of audio; takes 1.10 times as long as the live version');
INSERT INTO "cycle_steps" VALUES(4,'cycle-1a218493b7e447a8ab6fa','2026-11-26 14:36:22.435460','validated','regression','there are no suites yet');
INSERT INTO "cycle_steps" VALUES(5,'cycle-1a218493b7e447a8ab6fa','2026-11-26 14:36:22.447387','regression','awaiting_approval','misheard cycle approve cycle-1a218493b7e447a8ab6fa');
INSERT INTO "cycle_steps" VALUES(6,'cycle-1a218493b7e447a8ab6fa','2026-11-26 14:36:22.478179','awaiting_approval','deployed','approved by ann');
CREATE TABLE "cycles" (
	number INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	state TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	baseline_id TEXT NOT NULL, 
	held_out_id TEXT, 
	options JSON NOT NULL, 
	decision JSON NOT NULL, 
	dataset_id TEXT, 
	job_id TEXT, 
	version_id TEXT, 
	validation_id TEXT, 
	detail TEXT NOT NULL, 
	error TEXT DEFAULT '' NOT NULL, 
	lease_owner TEXT, 
	lease_until DATETIME, 
	fence INTEGER NOT NULL, 
	CONSTRAINT pk_cycles PRIMARY KEY (number), 
	CONSTRAINT uq_cycles_id UNIQUE (id), 
	CONSTRAINT fk_cycles_baseline_id_versions FOREIGN KEY(baseline_id) REFERENCES versions (id), 
	CONSTRAINT fk_cycles_held_out_id_datasets FOREIGN KEY(held_out_id) REFERENCES datasets (id), 
	CONSTRAINT fk_cycles_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT fk_cycles_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT fk_cycles_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id), 
	CONSTRAINT fk_cycles_validation_id_validations FOREIGN KEY(validation_id) REFERENCES validations (id)
);
INSERT INTO "cycles" VALUES(1,'cycle-1a218493b7e447a8ab6fa','2026-11-26 14:36:22.270914','deployed','ann','v-8c399f84f40b','ds-66faecd864ce3f0e','{"model_directory": "tuned"}','{"forced": false, "error_cases": 6, "corrected_cases": 6, "inferences": 6, "inference_errors": 6, "reasons": ["6 corrected cases of 2 wanted", "6 error cases of 2 wanted"], "objections": [], "conditions": [{"name": "corrected cases", "is_met": true, "text": "6 corrected cases of 2 wanted"}, {"name": "error cases", "is_met": true, "text": "6 error cases of 2 wanted"}], "circumstances": {"audited": null, "drift": null, "running": "", "hours_since_end": null, "days_since_begin": null, "training_hours": 0.0}, "expected": {"answer": "unknown", "told": "unknown: how often the live version errs is not known; label what the audit draws", "cases": 6, "word_errors": 18, "errors_per_hour": 25411.76470588235, "wer": null, "wer_from": "", "covered": 0.6666666666666667, "bound": null, "removed": 0.5, "removed_interval": null, "trainings": 0, "gain": null, "gain_interval": null, "power": null, "words": 60, "groups": 20, "words_needed": null}, "reason": "", "evidence": {}}',NULL,NULL,'v-1a218493b7e447a8ab6fa','val-1a218493b7e447a8ab6fa','approved by ann','',NULL,NULL,9);
CREATE TABLE datasets (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	name TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	manifest_sha256 TEXT NOT NULL, 
	counts JSON NOT NULL, 
	duration_s FLOAT NOT NULL, 
	quality JSON NOT NULL, withdrawn INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_datasets PRIMARY KEY (id)
);
INSERT INTO "datasets" VALUES('ds-66faecd864ce3f0e','2026-11-26 14:36:21.971941','held-out','evaluation','66faecd864ce3f0ea3f8b18ac8ab3d51da365dae90d2f4e35e1dd4577775ee9c','{"test": 20}',3.9,'{}',0);
CREATE TABLE deliveries (
	number INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	alert_id TEXT NOT NULL, 
	event TEXT NOT NULL, 
	channel TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_at DATETIME, 
	delivered_at DATETIME, 
	error TEXT NOT NULL, 
	CONSTRAINT pk_deliveries PRIMARY KEY (number), 
	CONSTRAINT fk_deliveries_alert_id_alerts FOREIGN KEY(alert_id) REFERENCES alerts (id)
);
CREATE TABLE deployments (
	number INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	slot TEXT NOT NULL, 
	version_id TEXT NOT NULL, 
	action TEXT NOT NULL, 
	after_number INTEGER NOT NULL, 
	undo_number INTEGER NOT NULL, 
	actor TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_deployments PRIMARY KEY (number), 
	CONSTRAINT fk_deployments_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id), 
	CONSTRAINT uq_deployments_slot_after_number UNIQUE (slot, after_number)
);
INSERT INTO "deployments" VALUES(1,'2026-11-26 14:36:21.889435','production','v-8c399f84f40b','deploy',0,0,'ann','the first model');
INSERT INTO "deployments" VALUES(2,'2026-11-26 14:36:22.475073','production','v-1a218493b7e447a8ab6fa','deploy',1,1,'ann','approved by ann');
CREATE TABLE discarded (
	sha256 TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_discarded PRIMARY KEY (sha256)
);
CREATE TABLE error_cases (
	id TEXT NOT NULL, 
	inference_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	suspicion FLOAT, 
	score FLOAT, 
	details JSON NOT NULL, status TEXT DEFAULT 'open' NOT NULL, since_cycle TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_error_cases PRIMARY KEY (id), 
	CONSTRAINT fk_error_cases_inference_id_inferences FOREIGN KEY(inference_id) REFERENCES inferences (id), 
	CONSTRAINT uq_error_cases_inference_id UNIQUE (inference_id)
);
INSERT INTO "error_cases" VALUES('case-1a218493b16d2ea5e26e1','inf-1a218493a7a194295ac42','2026-11-26 14:36:22.166363',NULL,1.0,'{}','corrected','');
INSERT INTO "error_cases" VALUES('case-1a218493b1d3d8ba521d2','inf-1a218493a9088116f41ff','2026-11-26 14:36:22.173430',NULL,1.0,'{}','corrected','');
INSERT INTO "error_cases" VALUES('case-1a218493b216121c15f92','inf-1a218493a900964b78236','2026-11-26 14:36:22.177114',NULL,1.0,'{}','corrected','');
INSERT INTO "error_cases" VALUES('case-1a218493b24e3ceaf26ff','inf-1a218493a912ea855a03d','2026-11-26 14:36:22.180619',NULL,1.0,'{}','corrected','');
INSERT INTO "error_cases" VALUES('case-1a218493b285cd4080a3e','inf-1a218493a91250319c09f','2026-11-26 14:36:22.184143',NULL,1.0,'{}','corrected','');
INSERT INTO "error_cases" VALUES('case-1a218493b2bfded8b03be','inf-1a218493a91fff0a025b6','2026-11-26 14:36:22.187374',NULL,1.0,'{}','corrected','');
CREATE TABLE forgotten (
	audio_sha256 TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	audit_number INTEGER NOT NULL, 
	CONSTRAINT pk_forgotten PRIMARY KEY (audio_sha256)
);
CREATE TABLE hourly (
	hour DATETIME NOT NULL, 
	version_id TEXT NOT NULL, 
	slice TEXT NOT NULL, 
	inferences INTEGER NOT NULL, 
	let_go INTEGER DEFAULT '0' NOT NULL, 
	empty INTEGER NOT NULL, 
	audio_s FLOAT NOT NULL, 
	timed INTEGER NOT NULL, 
	latency_s FLOAT NOT NULL, 
	least_latency_s FLOAT, 
	most_latency_s FLOAT, 
	latency_counts JSON NOT NULL, 
	compute_s FLOAT NOT NULL, 
	computed_audio_s FLOAT NOT NULL, 
	suspected INTEGER NOT NULL, 
	suspicion FLOAT NOT NULL, 
	suspicion_squared FLOAT NOT NULL, 
	scored INTEGER NOT NULL, 
	avg_logprob FLOAT NOT NULL, 
	errors INTEGER NOT NULL, 
	corrected INTEGER NOT NULL, 
	CONSTRAINT pk_hourly PRIMARY KEY (hour, version_id, slice)
);
INSERT INTO "hourly" VALUES('2026-11-26 14:00:00.000000','v-8c399f84f40b','',6,0,0,2.55000000000000026645e+00,6,0.6,0.1,0.1,'{"-24": 6}',0.6,2.55000000000000026645e+00,6,1.95409291079003266666e+00,6.84982974315950676746e-01,0,0.0,6,6);
CREATE TABLE hypotheses (
	version_id TEXT NOT NULL, 
	audio_sha256 TEXT NOT NULL, 
	decoding TEXT NOT NULL, 
	text TEXT NOT NULL, 
	compute_s FLOAT NOT NULL, 
	CONSTRAINT pk_hypotheses PRIMARY KEY (version_id, audio_sha256, decoding), 
	CONSTRAINT fk_hypotheses_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id)
);
CREATE TABLE "inferences" (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	client_id TEXT, 
	speaker TEXT, 
	session TEXT, 
	speaker_group TEXT NOT NULL, 
	audio_sha256 TEXT NOT NULL, 
	audio_bytes BIGINT, 
	source TEXT NOT NULL, 
	duration_s FLOAT, 
	version_id TEXT NOT NULL, 
	text TEXT NOT NULL, 
	second_text TEXT, 
	avg_logprob FLOAT, 
	no_speech_prob FLOAT, 
	compression_ratio FLOAT, 
	latency_s FLOAT, 
	compute_s FLOAT, 
	reported BOOLEAN NOT NULL, 
	tags JSON DEFAULT '{}' NOT NULL, 
	CONSTRAINT uq_inferences_id UNIQUE (id), 
	CONSTRAINT uq_inferences_client_id UNIQUE (client_id)
);
INSERT INTO "inferences" VALUES(1,'inf-1a218493a7a194295ac42','2026-11-26 14:36:22.010611',NULL,NULL,NULL,'d819fce50e695e9056dcf1451eb25c3ee31a9d4f437312c717902452de59a7ab','d819fce50e695e9056dcf1451eb25c3ee31a9d4f437312c717902452de59a7ab',12844,'',0.4,'v-8c399f84f40b','press pound',NULL,NULL,NULL,NULL,0.1,0.1,0,'{"noise": "under 15 dB"}');
INSERT INTO "inferences" VALUES(2,'inf-1a218493a9088116f41ff','2026-11-26 14:36:22.032415',NULL,NULL,NULL,'c0e10845b6967b990745fdff32182b6ef2edc019a7d67c062cb3764136e87314','c0e10845b6967b990745fdff32182b6ef2edc019a7d67c062cb3764136e87314',13164,'',0.41,'v-8c399f84f40b','press pound',NULL,NULL,NULL,NULL,0.1,0.1,0,'{"noise": "under 15 dB"}');
INSERT INTO "inferences" VALUES(3,'inf-1a218493a900964b78236','2026-11-26 14:36:22.032783',NULL,NULL,NULL,'3cfee9969317e1d9e4db9f4bc36e2b27bd61193c27136b2957815b2567be6aa5','3cfee9969317e1d9e4db9f4bc36e2b27bd61193c27136b2957815b2567be6aa5',13484,'',0.42,'v-8c399f84f40b','press pound',NULL,NULL,NULL,NULL,0.1,0.1,0,'{"noise": "under 15 dB"}');
INSERT INTO "inferences" VALUES(4,'inf-1a218493a912ea855a03d','2026-11-26 14:36:22.033045',NULL,NULL,NULL,'f2f1cf1f19f926fcfeceb3f12e6a8610fcf4e1fe950fa80f5c00478d4b22017d','f2f1cf1f19f926fcfeceb3f12e6a8610fcf4e1fe950fa80f5c00478d4b22017d',13804,'',0.43,'v-8c399f84f40b','press pound',NULL,NULL,NULL,NULL,0.1,0.1,0,'{"noise": "under 15 dB"}');
INSERT INTO "inferences" VALUES(5,'inf-1a218493a91250319c09f','2026-11-26 14:36:22.033355',NULL,NULL,NULL,'f30f532b230ee542fedcd3670e185902a8a9ff3a016db9dc17c2b3035253e13c','f30f532b230ee542fedcd3670e185902a8a9ff3a016db9dc17c2b3035253e13c',14124,'',0.44,'v-8c399f84f40b','press pound',NULL,NULL,NULL,NULL,0.1,0.1,0,'{"noise": "under 15 dB"}');
INSERT INTO "inferences" VALUES(6,'inf-1a218493a91fff0a025b6','2026-11-26 14:36:22.033593',NULL,NULL,NULL,'5cc441b5f096527322a29cb4361567686bb3e5afb87cf86c1bfc7a807b8197fe','5cc441b5f096527322a29cb4361567686bb3e5afb87cf86c1bfc7a807b8197fe',14444,'',0.45,'v-8c399f84f40b','press pound',NULL,NULL,NULL,NULL,0.1,0.1,0,'{"noise": "under 15 dB"}');
CREATE TABLE infrastructure_checks (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	version_id TEXT NOT NULL, 
	passed BOOLEAN NOT NULL, 
	detail TEXT NOT NULL, 
	figures JSON NOT NULL, 
	CONSTRAINT pk_infrastructure_checks PRIMARY KEY (id), 
	CONSTRAINT fk_infrastructure_checks_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id)
);
CREATE TABLE jobs (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	state TEXT NOT NULL, 
	backend TEXT NOT NULL, 
	base_version_id TEXT NOT NULL, 
	dataset_id TEXT NOT NULL, 
	recipe JSON NOT NULL, 
	ended_at DATETIME, 
	error TEXT, 
	result JSON, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT fk_jobs_base_version_id_versions FOREIGN KEY(base_version_id) REFERENCES versions (id), 
	CONSTRAINT fk_jobs_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id)
);
CREATE TABLE latency_totals (
	version_id TEXT NOT NULL, 
	bucket INTEGER NOT NULL, 
	count BIGINT NOT NULL, 
	CONSTRAINT pk_latency_totals PRIMARY KEY (version_id, bucket)
);
INSERT INTO "latency_totals" VALUES('v-8c399f84f40b',-24,6);
CREATE TABLE marks (
	reader TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	CONSTRAINT pk_marks PRIMARY KEY (reader)
);
INSERT INTO "marks" VALUES('digest',6);
CREATE TABLE observations (
	number INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	kind TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	wer FLOAT, 
	cer FLOAT, 
	error_rate FLOAT, 
	correction_rate FLOAT, 
	inference_time_s FLOAT, 
	confidence FLOAT, 
	is_error BOOLEAN, 
	is_corrected BOOLEAN, 
	details JSON NOT NULL, 
	CONSTRAINT pk_observations PRIMARY KEY (number)
);
INSERT INTO "observations" VALUES(1,'2026-11-26 14:36:22.421488','performance','v-8c399f84f40b',2.33333333333333337034e-01,1.5086206896551723755e-01,NULL,NULL,NULL,NULL,NULL,NULL,'{"validation": "val-1a218493b7e447a8ab6fa"}');
INSERT INTO "observations" VALUES(2,'2026-11-26 14:36:22.477657','performance','v-1a218493b7e447a8ab6fa',0.0,0.0,NULL,NULL,NULL,NULL,NULL,NULL,'{"validation": "val-1a218493b7e447a8ab6fa"}');
CREATE TABLE rollout_counts (
	rollout_id TEXT NOT NULL, 
	step INTEGER NOT NULL, 
	arm TEXT NOT NULL, 
	signal TEXT NOT NULL, 
	count INTEGER NOT NULL, 
	CONSTRAINT pk_rollout_counts PRIMARY KEY (rollout_id, step, arm, signal), 
	CONSTRAINT fk_rollout_counts_rollout_id_rollouts FOREIGN KEY(rollout_id) REFERENCES rollouts (id)
);
CREATE TABLE rollout_sessions (
	rollout_id TEXT NOT NULL, 
	session TEXT NOT NULL, 
	arm TEXT NOT NULL, 
	wrong JSON NOT NULL, 
	CONSTRAINT pk_rollout_sessions PRIMARY KEY (rollout_id, session), 
	CONSTRAINT fk_rollout_sessions_rollout_id_rollouts FOREIGN KEY(rollout_id) REFERENCES rollouts (id)
);
CREATE TABLE rollouts (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	slot TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	version_id TEXT NOT NULL, 
	live_version_id TEXT NOT NULL, 
	deployment_number INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	shares JSON NOT NULL, 
	step INTEGER NOT NULL, 
	step_began_at DATETIME NOT NULL, 
	rules JSON NOT NULL, 
	actor TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	ended_at DATETIME, 
	detail TEXT NOT NULL, 
	CONSTRAINT pk_rollouts PRIMARY KEY (id), 
	CONSTRAINT fk_rollouts_live_version_id_versions FOREIGN KEY(live_version_id) REFERENCES versions (id), 
	CONSTRAINT fk_rollouts_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id)
);
CREATE TABLE selections (
	inference_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	stream TEXT NOT NULL, 
	probability FLOAT NOT NULL, 
	priority FLOAT NOT NULL, 
	labelled_at DATETIME, 
	is_error BOOLEAN, 
	words INTEGER, 
	word_errors INTEGER, 
	heard_at DATETIME, 
	version_id TEXT, 
	speaker_group TEXT, 
	CONSTRAINT pk_selections PRIMARY KEY (inference_id), 
	CONSTRAINT fk_selections_inference_id_inferences FOREIGN KEY(inference_id) REFERENCES inferences (id)
);
CREATE TABLE servers (
	id TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	seen_at DATETIME NOT NULL, 
	address TEXT NOT NULL, 
	slot TEXT NOT NULL, 
	version_id TEXT NOT NULL, 
	deployment_number INTEGER NOT NULL, 
	staging_number INTEGER NOT NULL, 
	loaded JSON NOT NULL, 
	failed JSON NOT NULL, 
	CONSTRAINT pk_servers PRIMARY KEY (id)
);
CREATE TABLE shadow_transcripts (
	rollout_id TEXT NOT NULL, 
	inference_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	text TEXT NOT NULL, 
	avg_logprob FLOAT, 
	no_speech_prob FLOAT, 
	compression_ratio FLOAT, 
	latency_s FLOAT, 
	words INTEGER NOT NULL, 
	differences INTEGER NOT NULL, 
	CONSTRAINT pk_shadow_transcripts PRIMARY KEY (rollout_id, inference_id), 
	CONSTRAINT fk_shadow_transcripts_inference_id_inferences FOREIGN KEY(inference_id) REFERENCES inferences (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shadow_transcripts_rollout_id_rollouts FOREIGN KEY(rollout_id) REFERENCES rollouts (id)
);
CREATE TABLE silences (
	number INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	rule TEXT NOT NULL, 
	until DATETIME NOT NULL, 
	actor TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_silences PRIMARY KEY (number)
);
CREATE TABLE speaker_norms (
	speaker TEXT NOT NULL, 
	utterances INTEGER NOT NULL, 
	mean FLOAT NOT NULL, 
	squared_distance FLOAT NOT NULL, 
	CONSTRAINT pk_speaker_norms PRIMARY KEY (speaker)
);
INSERT INTO "speaker_norms" VALUES('',6,2.53617945223101948215e+01,2.18950142674047310009e+00);
CREATE TABLE stagings (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	created_at DATETIME NOT NULL, 
	slot TEXT NOT NULL, 
	version_id TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	until DATETIME NOT NULL, 
	CONSTRAINT fk_stagings_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id)
);
CREATE TABLE suite_baselines (
	number INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	suite_id TEXT NOT NULL, 
	version_id TEXT NOT NULL, 
	wer FLOAT, 
	cer FLOAT, 
	silent_with_text INTEGER NOT NULL, 
	actor TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_suite_baselines PRIMARY KEY (number), 
	CONSTRAINT fk_suite_baselines_suite_id_suites FOREIGN KEY(suite_id) REFERENCES suites (id)
);
CREATE TABLE suite_cases (
	number INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	suite_name TEXT NOT NULL, 
	audio_sha256 TEXT NOT NULL, 
	reference TEXT NOT NULL, 
	speaker_group TEXT NOT NULL, 
	duration_s FLOAT NOT NULL, 
	tags JSON NOT NULL, 
	inference_id TEXT NOT NULL, 
	correction_number INTEGER NOT NULL, 
	dataset_id TEXT, 
	CONSTRAINT pk_suite_cases PRIMARY KEY (number), 
	CONSTRAINT fk_suite_cases_correction_number_corrections FOREIGN KEY(correction_number) REFERENCES corrections (number), 
	CONSTRAINT fk_suite_cases_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT fk_suite_cases_inference_id_inferences FOREIGN KEY(inference_id) REFERENCES inferences (id), 
	CONSTRAINT uq_suite_cases_suite_name_correction_number UNIQUE (suite_name, correction_number)
);
CREATE TABLE suite_results (
	run_id TEXT NOT NULL, 
	audio_sha256 TEXT NOT NULL, 
	reference TEXT NOT NULL, 
	words INTEGER NOT NULL, 
	baseline_errors INTEGER NOT NULL, 
	candidate_errors INTEGER NOT NULL, 
	baseline_text TEXT NOT NULL, 
	candidate_text TEXT NOT NULL, 
	CONSTRAINT pk_suite_results PRIMARY KEY (run_id, audio_sha256), 
	CONSTRAINT fk_suite_results_run_id_suite_runs FOREIGN KEY(run_id) REFERENCES suite_runs (id)
);
CREATE TABLE suite_runs (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	suite_id TEXT NOT NULL, 
	cycle_id TEXT, 
	candidate_id TEXT NOT NULL, 
	baseline_id TEXT NOT NULL, 
	passed BOOLEAN NOT NULL, 
	reasons JSON NOT NULL, 
	figures JSON NOT NULL, 
	CONSTRAINT pk_suite_runs PRIMARY KEY (id), 
	CONSTRAINT fk_suite_runs_suite_id_suites FOREIGN KEY(suite_id) REFERENCES suites (id)
);
CREATE TABLE suites (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	name TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	dataset_id TEXT NOT NULL, 
	description TEXT NOT NULL, 
	baseline_version TEXT NOT NULL, 
	baseline_wer FLOAT, 
	baseline_cer FLOAT, 
	max_wer_degradation FLOAT, 
	max_cer_degradation FLOAT, 
	CONSTRAINT pk_suites PRIMARY KEY (id), 
	CONSTRAINT fk_suites_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id)
);
CREATE TABLE suspicion_models (
	number INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	weights JSON NOT NULL, 
	figures JSON NOT NULL, 
	CONSTRAINT pk_suspicion_models PRIMARY KEY (number)
);
CREATE TABLE tallies (
	since_cycle TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	suspicion_percent INTEGER NOT NULL, 
	count INTEGER NOT NULL, 
	CONSTRAINT pk_tallies PRIMARY KEY (since_cycle, kind, suspicion_percent)
);
INSERT INTO "tallies" VALUES('','inferences',-1,6);
INSERT INTO "tallies" VALUES('','inference_errors',-1,6);
INSERT INTO "tallies" VALUES('','corrected',-1,6);
CREATE TABLE tokens (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	name TEXT NOT NULL, 
	role TEXT NOT NULL, 
	secret_sha256 TEXT NOT NULL, 
	rate_per_minute INTEGER, 
	expires_at DATETIME, 
	revoked_at DATETIME, 
	last_used_at DATETIME, 
	CONSTRAINT pk_tokens PRIMARY KEY (id), 
	CONSTRAINT uq_tokens_name UNIQUE (name)
);
INSERT INTO "tokens" VALUES('83925dc2ef0c','2026-11-26 14:36:22.495396','app','transcribe','bf84772dfff2fdb4446895c914645de5f4e6addf8d45b09a1528333a0e9df7ba',NULL,NULL,NULL,NULL);
CREATE TABLE traffic_totals (
	version_id TEXT NOT NULL, 
	inferences BIGINT NOT NULL, 
	empty BIGINT NOT NULL, 
	audio_s FLOAT NOT NULL, 
	timed BIGINT NOT NULL, 
	latency_s FLOAT NOT NULL, 
	compute_s FLOAT NOT NULL, 
	computed_audio_s FLOAT NOT NULL, 
	scored BIGINT NOT NULL, 
	avg_logprob FLOAT NOT NULL, 
	errors BIGINT NOT NULL, 
	corrected BIGINT NOT NULL, 
	CONSTRAINT pk_traffic_totals PRIMARY KEY (version_id)
);
INSERT INTO "traffic_totals" VALUES('v-8c399f84f40b',6,0,2.55000000000000026645e+00,6,0.6,0.6,2.55000000000000026645e+00,0,0.0,6,6);
CREATE TABLE trigger_evaluations (
	number INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_at DATETIME NOT NULL, 
	times INTEGER NOT NULL, 
	should_trigger BOOLEAN NOT NULL, 
	decision JSON NOT NULL, 
	cycle_id TEXT, 
	CONSTRAINT pk_trigger_evaluations PRIMARY KEY (number), 
	CONSTRAINT fk_trigger_evaluations_cycle_id_cycles FOREIGN KEY(cycle_id) REFERENCES cycles (id)
);
INSERT INTO "trigger_evaluations" VALUES(1,'2026-11-26 14:36:22.276528','2026-11-26 14:36:22.276528',1,1,'{"should_trigger": true, "reasons": ["6 corrected cases of 2 wanted", "6 error cases of 2 wanted"], "objections": [], "metrics": {"error_cases": 6, "corrected_cases": 6, "inferences": 6, "inference_errors": 6}, "conditions": [{"name": "corrected cases", "is_met": true, "text": "6 corrected cases of 2 wanted"}, {"name": "error cases", "is_met": true, "text": "6 error cases of 2 wanted"}], "circumstances": {"audited": null, "drift": null, "running": "", "hours_since_end": null, "days_since_begin": null, "training_hours": 0.0}, "expected": {"answer": "unknown", "told": "unknown: how often the live version errs is not known; label what the audit draws", "cases": 6, "word_errors": 18, "errors_per_hour": 25411.76470588235, "wer": null, "wer_from": "", "covered": 0.6666666666666667, "bound": null, "removed": 0.5, "removed_interval": null, "trainings": 0, "gain": null, "gain_interval": null, "power": null, "words": 60, "groups": 20, "words_needed": null}}','cycle-1a218493b7e447a8ab6fa');
CREATE TABLE validations (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	candidate_id TEXT NOT NULL, 
	baseline_id TEXT NOT NULL, 
	dataset_id TEXT NOT NULL, 
	set_name TEXT NOT NULL, 
	passed BOOLEAN NOT NULL, 
	reasons JSON NOT NULL, 
	figures JSON NOT NULL, 
	utterances_sha256 TEXT NOT NULL, 
	CONSTRAINT pk_validations PRIMARY KEY (id), 
	CONSTRAINT fk_validations_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id)
);
INSERT INTO "validations" VALUES('val-1a218493b7e447a8ab6fa','2026-11-26 14:36:22.410097','v-1a218493b7e447a8ab6fa','v-8c399f84f40b','ds-66faecd864ce3f0e','held-out',1,'["WER 23.33% \u2192 0.00% on 60 words, an improvement of 23.33%", "CER 15.09% \u2192 0.00%", "WER rises by more than 0.2 on 0 of 20 utterances", "none of 1 slices is worse by more than chance", "0.002 s of compute for a second of audio", "takes 1.10 times as long as the live version"]','{"utterances": 20, "words": 60, "silent": 0, "audio_s": 3.9, "normalizer": "whisper-english", "baseline": {"wer": 0.23333333333333334, "cer": 0.15086206896551724, "mer": 0.23333333333333334, "wil": 0.3345911949685534, "errors": 14, "substitutions": 7, "deletions": 7, "insertions": 0, "wer_interval": [0.1, 0.36666666666666664], "silent_with_text": 0, "compute_s": 0.008465218000310415, "real_time_factor": 0.002170568718028311, "failed": 0, "formatting_only": 0, "confusions": {"substituted": [{"reference": "now", "hypothesis": "pound", "count": 7}], "deleted": [{"reference": "0", "hypothesis": "", "count": 1}, {"reference": "12", "hypothesis": "", "count": 1}, {"reference": "15", "hypothesis": "", "count": 1}, {"reference": "18", "hypothesis": "", "count": 1}, {"reference": "3", "hypothesis": "", "count": 1}, {"reference": "6", "hypothesis": "", "count": 1}, {"reference": "9", "hypothesis": "", "count": 1}], "inserted": [], "utterances": 20, "wrong": 7, "formatting_only": 0, "formatting_examples": [], "normalizer": "whisper-english"}}, "candidate": {"wer": 0.0, "cer": 0.0, "mer": 0.0, "wil": 0.0, "errors": 0, "substitutions": 0, "deletions": 0, "insertions": 0, "wer_interval": [0.0, 0.0], "silent_with_text": 0, "compute_s": 0.009290341999985685, "real_time_factor": 0.0023821389743553037, "failed": 0, "formatting_only": 0, "confusions": {"substituted": [], "deleted": [], "inserted": [], "utterances": 20, "wrong": 0, "formatting_only": 0, "formatting_examples": [], "normalizer": "whisper-english"}}, "reduction_interval": [0.1, 0.36666666666666664], "reduction_se": 0.07038833481321871, "p_value": 0.015625, "exact": true, "blocks": 20, "mapsswe_p": 0.015625, "segments": 7, "changed": [{"audio_sha256": "15fe0a639b0694f35ee7b791e27d17afb7dd41ac71de1bf610ff31059b47caa9", "reference": "press 3 now", "words": 3, "baseline": "press pound", "candidate": "press 3 now", "baseline_errors": 2, "candidate_errors": 0, "reference_words": "press 3 now", "baseline_words": "press pound", "candidate_words": "press 3 now"}, {"audio_sha256": "445c4f8f0d98ecfb18d6d24bd107f8d42d384d3f6e10b64de2a46013b4a66a83", "reference": "press 18 now", "words": 3, "baseline": "press pound", "candidate": "press 18 now", "baseline_errors": 2, "candidate_errors": 0, "reference_words": "press 18 now", "baseline_words": "press pound", "candidate_words": "press 18 now"}, {"audio_sha256": "4f181b943e03151029bbe7b099ec4fd9beb33737d89535fe5a82ae83e5b90dd5", "reference": "press 12 now", "words": 3, "baseline": "press pound", "candidate": "press 12 now", "baseline_errors": 2, "candidate_errors": 0, "reference_words": "press 12 now", "baseline_words": "press pound", "candidate_words": "press 12 now"}, {"audio_sha256": "6c7f063d751e0ba6052cec65fc2cec793186d6705bc4945760fb1221f9681240", "reference": "press 15 now", "words": 3, "baseline": "press pound", "candidate": "press 15 now", "baseline_errors": 2, "candidate_errors": 0, "reference_words": "press 15 now", "baseline_words": "press pound", "candidate_words": "press 15 now"}, {"audio_sha256": "a1d14014ffff637b20ae20e0d81636b6d192ffae52bbb877c77a93719243c1af", "reference": "press 0 now", "words": 3, "baseline": "press pound", "candidate": "press 0 now", "baseline_errors": 2, "candidate_errors": 0, "reference_words": "press 0 now", "baseline_words": "press pound", "candidate_words": "press 0 now"}, {"audio_sha256": "b968a890975239c453f5d0a4cf00bd2d2c2ab319aecdad521d33dc70966ed42f", "reference": "press 9 now", "words": 3, "baseline": "press pound", "candidate": "press 9 now", "baseline_errors": 2, "candidate_errors": 0, "reference_words": "press 9 now", "baseline_words": "press pound", "candidate_words": "press 9 now"}, {"audio_sha256": "dbe40539d1c70001c6598ba258f005fa26a05ee00a3f75724ba4fbe09b38cda7", "reference": "press 6 now", "words": 3, "baseline": "press pound", "candidate": "press 6 now", "baseline_errors": 2, "candidate_errors": 0, "reference_words": "press 6 now", "baseline_words": "press pound", "candidate_words": "press 6 now"}], "slices": [{"name": "under 1 s", "kind": "length", "utterances": 20, "words": 60, "baseline_errors": 14, "candidate_errors": 0, "p_value": 1.0, "worse": false, "limit": 0.0}], "timed_in_turn": null, "must_pass": 0, "missed": [], "criteria": [{"name": "wer", "answer": "pass", "reason": "WER 23.33% \u2192 0.00% on 60 words, an improvement of 23.33%", "figure": 0.23333333333333334, "limit": 0.0, "words_needed": null}, {"name": "cer", "answer": "pass", "reason": "CER 15.09% \u2192 0.00%", "figure": 0.15086206896551724, "limit": 0.0, "words_needed": null}, {"name": "utterances", "answer": "pass", "reason": "WER rises by more than 0.2 on 0 of 20 utterances", "figure": 0.0, "limit": 0.1, "words_needed": null}, {"name": "slices", "answer": "pass", "reason": "none of 1 slices is worse by more than chance", "figure": 0, "limit": 0, "words_needed": null}, {"name": "real_time_factor", "answer": "pass", "reason": "0.002 s of compute for a second of audio", "figure": 0.0023821389743553037, "limit": 1000000000.0, "words_needed": null}, {"name": "slowdown", "answer": "pass", "reason": "takes 1.10 times as long as the live version", "figure": 1.0974722682445996, "limit": 1000000000.0, "words_needed": null}], "unjudged": ["no set ''general'', so nobody looked at speech that is not of this task: misheard dataset hold-out general.jsonl --name general", "no clip without speech, so nobody looked for words where there are none", "no utterance is tagged {\"must_pass\": \"true\"}"]}','a7d722a01e3b7e95e082101ef1ab85888d0d6f880b2fe882988364d47cbcf66a');
CREATE TABLE versions (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	name TEXT NOT NULL, 
	files JSON NOT NULL, 
	source TEXT NOT NULL, 
	parent_id TEXT, 
	dataset_id TEXT, 
	job_id TEXT, 
	figures JSON NOT NULL, 
	verdict JSON, 
	details JSON NOT NULL, 
	pruned_at DATETIME, 
	CONSTRAINT pk_versions PRIMARY KEY (id), 
	CONSTRAINT fk_versions_parent_id_versions FOREIGN KEY(parent_id) REFERENCES versions (id)
);
INSERT INTO "versions" VALUES('v-8c399f84f40b','2026-11-26 14:36:21.877409','calls-first','{"config.json": "00a6146e7bf4c9f7048a891194448519deba12dbaf626196672f9f53de08acbe", "model.bin": "e8f8cb1e81e845d9acf499ff4a895eca1f5ec13abd4a4fdc8621d791a6a45081", "tokenizer.json": "b15b4092d1d5c42d153fdc94603f2b05e3d6fa0a8eb39d2ec4c59dba00ec903e"}','calls-first',NULL,NULL,NULL,'{}',NULL,'{}',NULL);
INSERT INTO "versions" VALUES('v-1a218493b7e447a8ab6fa','2026-11-26 14:36:22.298129','calls-first','{"config.json": "84668598e8cb2065dce00cfa77b3f06ea50eebc4954f1ea453a35881bccbbe81", "model.bin": "9c7ae50a499f90a98090e9e919e11c6983195993da320b51e9f7ce5d8cec4d41", "tokenizer.json": "a5e67b6c617541893a9cd692d3288aacf2c6abfe830537f725eeaf49a1197c60", "tuned.txt": "aba407b81ed016841ea552feadaf0663c7804a64554ba55d3109b3dc8198cdcb"}','tuned','v-8c399f84f40b',NULL,NULL,'{}',NULL,'{}',NULL);
CREATE INDEX ix_audit_action ON audit (action);
CREATE INDEX ix_audit_created_at ON audit (created_at);
CREATE INDEX ix_datasets_name ON datasets (name);
CREATE INDEX ix_observations_kind_created_at ON observations (kind, created_at);
CREATE INDEX ix_corrections_created_at ON corrections (created_at);
CREATE INDEX ix_corrections_inference_id_number ON corrections (inference_id, number);
CREATE INDEX ix_deployments_slot_number ON deployments (slot, number);
CREATE INDEX ix_error_cases_created_at ON error_cases (created_at);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE INDEX ix_suites_name ON suites (name);
CREATE INDEX ix_validations_candidate_id ON validations (candidate_id);
CREATE INDEX ix_validations_created_at ON validations (created_at);
CREATE INDEX ix_case_types_name ON case_types (name);
CREATE INDEX ix_suite_runs_candidate_id ON suite_runs (candidate_id);
CREATE INDEX ix_suite_runs_created_at ON suite_runs (created_at);
CREATE INDEX ix_suite_runs_cycle_id ON suite_runs (cycle_id);
CREATE INDEX ix_suite_runs_suite_id ON suite_runs (suite_id);
CREATE INDEX ix_cycle_steps_cycle_id ON cycle_steps (cycle_id);
CREATE INDEX ix_infrastructure_checks_version_id ON infrastructure_checks (version_id);
CREATE INDEX ix_suite_baselines_suite_id ON suite_baselines (suite_id);
CREATE INDEX ix_suite_cases_suite_name_audio_sha256 ON suite_cases (suite_name, audio_sha256);
CREATE INDEX ix_suite_results_audio_sha256_run_id ON suite_results (audio_sha256, run_id);
CREATE INDEX ix_alerts_resolved_at_rule ON alerts (resolved_at, rule, subject);
CREATE UNIQUE INDEX uq_alerts_open ON alerts (rule, subject) WHERE resolved_at IS NULL;
CREATE INDEX ix_suite_cases_inference_id ON suite_cases (inference_id);
CREATE INDEX ix_hourly_slice ON hourly (slice, hour, version_id);
CREATE INDEX ix_silences_until ON silences (until);
CREATE INDEX ix_deliveries_alert_id ON deliveries (alert_id);
CREATE INDEX ix_deliveries_next_at ON deliveries (next_at);
CREATE INDEX ix_selections_queue ON selections (stream, labelled_at, priority, inference_id);
CREATE INDEX ix_selections_audited ON selections (heard_at, inference_id) WHERE heard_at IS NOT NULL;
CREATE INDEX ix_selections_audited_version ON selections (version_id, heard_at, inference_id) WHERE heard_at IS NOT NULL;
CREATE INDEX ix_cycles_state ON cycles (state);
CREATE INDEX ix_jobs_ended_at ON jobs (ended_at);
CREATE INDEX ix_error_cases_status_suspicion_id ON error_cases (status, suspicion, id);
CREATE INDEX ix_inferences_created_at ON inferences (created_at);
CREATE INDEX ix_inferences_audio_sha256 ON inferences (audio_sha256);
CREATE INDEX ix_inferences_speaker ON inferences (speaker) WHERE speaker IS NOT NULL;
CREATE INDEX ix_inferences_session ON inferences (session) WHERE session IS NOT NULL;
CREATE INDEX ix_inferences_kept_audio ON inferences (created_at, number, audio_bytes) WHERE audio_bytes IS NOT NULL;
CREATE INDEX ix_servers_seen_at ON servers (seen_at);
CREATE UNIQUE INDEX uq_rollouts_running ON rollouts (slot) WHERE ended_at IS NULL;
CREATE INDEX ix_stagings_until ON stagings (until);
CREATE INDEX ix_shadow_transcripts_inference_id ON shadow_transcripts (inference_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('inferences',6);
COMMIT;
