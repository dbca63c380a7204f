BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
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
INSERT INTO "audit" VALUES(1,'2026-11-22 18:54:57.937676','demo','register','v-24a7d3db4237','','v-24a7d3db4237','bundled:whisper-tiny.en','{"dataset_id": null, "job_id": null}');
INSERT INTO "audit" VALUES(2,'2026-11-22 18:54:57.940378','demo','deploy','production','','v-24a7d3db4237','the first model','{}');
INSERT INTO "audit" VALUES(4,'2026-11-22 18:57:47.101672','Digium''s transcript','correct','inf-1a2049f1fd4342fea871e','That agent is already logged on. Please enter your agent number followed by the pan key.','That agent is already logged on. Please enter your agent number followed by the pound key.','import','{}');
INSERT INTO "audit" VALUES(6,'2026-11-22 18:57:47.101681','Digium''s transcript','correct','inf-1a2049f1fd433614d5c2e','Agent-Log-Doff','Agent Logged off.','import','{}');
INSERT INTO "audit" VALUES(360,'2026-11-22 19:07:40.604692','demo','register','v-0d9986537561','v-24a7d3db4237','v-0d9986537561','job-1a2049f2907f6fbf92a54','{"dataset_id": "ds-fbc22130e4d8f424", "job_id": "job-1a2049f2907f6fbf92a54"}');
INSERT INTO "audit" VALUES(361,'2026-11-22 19:09:20.612421','demo','approve','cycle-1a2049f2907f6fbf92a54','','','','{"cycle_id": "cycle-1a2049f2907f6fbf92a54", "validation_id": "val-1a2049f2907f6fbf92a54"}');
INSERT INTO "audit" VALUES(362,'2026-11-22 19:09:20.614502','demo','deploy','production','v-24a7d3db4237','v-0d9986537561','approved by demo','{"cycle_id": "cycle-1a2049f2907f6fbf92a54", "validation_id": "val-1a2049f2907f6fbf92a54"}');
INSERT INTO "audit" VALUES(363,'2026-11-22 19:09:21.369757','demo','rollback','production','v-0d9986537561','v-24a7d3db4237','a rollback drill','{}');
INSERT INTO "audit" VALUES(364,'2026-11-22 19:09:21.450470','demo','deploy','production','v-24a7d3db4237','v-0d9986537561','deployed again after a drill','{}');
CREATE TABLE case_types (
	case_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	given BOOLEAN NOT NULL, 
	CONSTRAINT pk_case_types PRIMARY KEY (case_id, name, given), 
	CONSTRAINT fk_case_types_case_id_error_cases FOREIGN KEY(case_id) REFERENCES error_cases (id)
);
INSERT INTO "case_types" VALUES('case-1a2049f2044552db82260','substitution',0);
INSERT INTO "case_types" VALUES('case-1a2049f2046a8dcb29f67','substitution',0);
INSERT INTO "case_types" VALUES('case-1a2049f2046ef4196d182','substitution',0);
INSERT INTO "case_types" VALUES('case-1a2049f2046ef4196d182','deletion',0);
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
INSERT INTO "corrections" VALUES(2,'inf-1a2049f1fd4342fea871e','2026-11-22 18:57:47.068671','That agent is already logged on. Please enter your agent number followed by the pound key.',1,'Digium''s transcript','import','{}');
INSERT INTO "corrections" VALUES(4,'inf-1a2049f1fd433614d5c2e','2026-11-22 18:57:47.068686','Agent Logged off.',1,'Digium''s transcript','import','{}');
INSERT INTO "corrections" VALUES(10,'inf-1a2049f1fd43f1f69714c','2026-11-22 18:57:47.068725','Followed by the pound key.',1,'Digium''s transcript','import','{}');
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
INSERT INTO "cycle_steps" VALUES(1,'cycle-1a2049f2907f6fbf92a54','2026-11-22 18:57:49.320571','','triggered','92 corrected cases of 20 wanted; 92 error cases of 20 wanted; error rate 25.8% of 15.0% wanted (357 inferences)');
INSERT INTO "cycle_steps" VALUES(2,'cycle-1a2049f2907f6fbf92a54','2026-11-22 18:57:49.370316','triggered','dataset','357 utterances, quality 100.0%; left out: 0 duplicates, 0 held out, 0 surplus replay');
INSERT INTO "cycle_steps" VALUES(3,'cycle-1a2049f2907f6fbf92a54','2026-11-22 18:57:49.412095','dataset','training','job-1a2049f2907f6fbf92a54 on local');
INSERT INTO "cycle_steps" VALUES(4,'cycle-1a2049f2907f6fbf92a54','2026-11-22 19:07:40.612167','training','converted','v-0d9986537561');
INSERT INTO "cycle_steps" VALUES(5,'cycle-1a2049f2907f6fbf92a54','2026-11-22 19:09:12.977116','converted','validated','WER 7.78% → 5.34% on 1105 words, an improvement of 2.44%; p = 0.0075 is below 0.05; CER 3.08% → 1.60%; WER rises by more than 0.2 on 12 of 208 utterances; none of 11 slices is worse by more than chance');
INSERT INTO "cycle_steps" VALUES(6,'cycle-1a2049f2907f6fbf92a54','2026-11-22 19:09:20.480086','validated','regression','5 of 5 suites passed');
INSERT INTO "cycle_steps" VALUES(7,'cycle-1a2049f2907f6fbf92a54','2026-11-22 19:09:20.483282','regression','awaiting_approval','misheard cycle approve cycle-1a2049f2907f6fbf92a54');
INSERT INTO "cycle_steps" VALUES(8,'cycle-1a2049f2907f6fbf92a54','2026-11-22 19:09:20.615188','awaiting_approval','deployed','approved by demo');
INSERT INTO "cycle_steps" VALUES(9,'cycle-1a2049f2907f6fbf92a54','2026-11-22 19:09:21.372491','deployed','rolled_back','demo: a rollback drill');
INSERT INTO "cycle_steps" VALUES(10,'cycle-1a2049f2907f6fbf92a54','2026-11-22 19:09:21.452342','rolled_back','deployed','demo: deployed again after a drill');
CREATE TABLE cycles (
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
	lease_owner TEXT, 
	lease_until DATETIME, 
	fence INTEGER NOT NULL, 
	CONSTRAINT pk_cycles PRIMARY KEY (id), 
	CONSTRAINT fk_cycles_baseline_id_versions FOREIGN KEY(baseline_id) REFERENCES versions (id), 
	CONSTRAINT fk_cycles_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT fk_cycles_held_out_id_datasets FOREIGN KEY(held_out_id) REFERENCES datasets (id), 
	CONSTRAINT fk_cycles_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT fk_cycles_validation_id_validations FOREIGN KEY(validation_id) REFERENCES validations (id), 
	CONSTRAINT fk_cycles_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id)
);
INSERT INTO "cycles" VALUES('cycle-1a2049f2907f6fbf92a54','2026-11-22 18:57:49.319040','deployed','demo','v-24a7d3db4237','ds-340a8ab61bacee34','{}','{"forced": false, "reasons": ["92 corrected cases of 20 wanted", "92 error cases of 20 wanted", "error rate 25.8% of 15.0% wanted (357 inferences)"], "objections": [], "error_cases": 92, "corrected_cases": 92, "inferences": 357, "inference_errors": 92, "reason": "", "evidence": {}}','ds-fbc22130e4d8f424','job-1a2049f2907f6fbf92a54','v-0d9986537561','val-1a2049f2907f6fbf92a54','demo: deployed again after a drill',NULL,NULL,15);
CREATE TABLE datasets (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	name TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	manifest_sha256 TEXT NOT NULL, 
	counts JSON NOT NULL, 
	duration_s FLOAT NOT NULL, 
	quality JSON NOT NULL, 
	CONSTRAINT pk_datasets PRIMARY KEY (id)
);
INSERT INTO "datasets" VALUES('ds-340a8ab61bacee34','2026-11-22 18:57:48.357354','held-out','evaluation','340a8ab61bacee34a2dec56eec86ee4e7172976f3e1d4b733304c3f17af7cdb3','{"test": 208}',526.8,'{}');
INSERT INTO "datasets" VALUES('ds-d564aecd49167493','2026-11-22 18:57:49.022200','suite numbers and PINs','evaluation','d564aecd491674936a9342bbfb491cd35a595c85154a8027fa814786f54c6181','{"test": 50}',222.64,'{}');
INSERT INTO "datasets" VALUES('ds-64492fa7e31fdcaa','2026-11-22 18:57:49.050010','suite no speech','evaluation','64492fa7e31fdcaa9418d6cbc861eb43832f71ea0466e1284c6d90b3f655e97e','{"test": 5}',26.38,'{}');
INSERT INTO "datasets" VALUES('ds-55d9c7f7d1d64df5','2026-11-22 18:57:49.182814','suite over 30 s','evaluation','55d9c7f7d1d64df51520cf590bd4cbfafb6001c8a5c45ba5d29d804de77a0bee','{"test": 3}',134.78,'{}');
INSERT INTO "datasets" VALUES('ds-c891d2ea8aca8287','2026-11-22 18:57:49.283192','suite one word','evaluation','c891d2ea8aca82870a20a790e3105a9656738426106910020afd054975a320ad','{"test": 88}',78.38,'{}');
INSERT INTO "datasets" VALUES('ds-fbc22130e4d8f424','2026-11-22 18:57:49.366051','cycle-1a2049f2907f6fbf92a54','training','fbc22130e4d8f4246d4c3e62421a396b965263ade797972aaa0a3b33eef42345','{"error": 92, "replay": 265, "train": 297, "validation": 60}',872.58,'{"score": 1.0, "flaws": {}}');
INSERT INTO "datasets" VALUES('ds-7eea8a205abc90f8','2026-11-22 19:09:22.239714','suite Critical Benchmark','evaluation','7eea8a205abc90f8c0a785867b7bbb13838084ace0236be708bdf5cf07f79959','{"test": 211}',661.58,'{}');
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
INSERT INTO "deployments" VALUES(1,'2026-11-22 18:54:57.939884','production','v-24a7d3db4237','deploy',0,0,'demo','the first model');
INSERT INTO "deployments" VALUES(2,'2026-11-22 19:09:20.613614','production','v-0d9986537561','deploy',1,1,'demo','approved by demo');
INSERT INTO "deployments" VALUES(3,'2026-11-22 19:09:21.369347','production','v-24a7d3db4237','rollback',2,0,'demo','a rollback drill');
INSERT INTO "deployments" VALUES(4,'2026-11-22 19:09:21.450179','production','v-0d9986537561','deploy',3,3,'demo','deployed again after a drill');
CREATE TABLE error_cases (
	id TEXT NOT NULL, 
	inference_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	suspicion FLOAT, 
	score FLOAT, 
	details JSON NOT NULL, 
	CONSTRAINT pk_error_cases PRIMARY KEY (id), 
	CONSTRAINT fk_error_cases_inference_id_inferences FOREIGN KEY(inference_id) REFERENCES inferences (id), 
	CONSTRAINT uq_error_cases_inference_id UNIQUE (inference_id)
);
INSERT INTO "error_cases" VALUES('case-1a2049f2044552db82260','inf-1a2049f1fd4342fea871e','2026-11-22 18:57:47.076476',NULL,0.0625,'{}');
INSERT INTO "error_cases" VALUES('case-1a2049f2046a8dcb29f67','inf-1a2049f1fd433614d5c2e','2026-11-22 18:57:47.078075',NULL,6.66666666666666629659e-01,'{}');
INSERT INTO "error_cases" VALUES('case-1a2049f2046ef4196d182','inf-1a2049f1fd43f1f69714c','2026-11-22 18:57:47.078376',NULL,0.8,'{}');
CREATE TABLE hypotheses (
	version_id TEXT NOT NULL, 
	audio_sha256 TEXT NOT NULL, 
	decoding TEXT NOT NULL, 
	text TEXT NOT NULL, 
	compute_s FLOAT NOT NULL, 
	CONSTRAINT pk_hypotheses PRIMARY KEY (version_id, audio_sha256, decoding), 
	CONSTRAINT fk_hypotheses_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id)
);
INSERT INTO "hypotheses" VALUES('v-0d9986537561','08942874f0b29dfd1cdbbcc44c1932ea3565eebfd21f5560b171735151e014a9','en beam=1 int8','folder 5',1.37283300624631010578e-02);
INSERT INTO "hypotheses" VALUES('v-0d9986537561','017b96310dd3c8c9ac2a2ed0bfbb402e83fc16e685363d5042b94fc2e6a39739','en beam=1 int8','USB radio.',2.40370828124696345184e-02);
INSERT INTO "hypotheses" VALUES('v-0d9986537561','06b14f70d555bacc9248451736128b7aefee6595726fc48f04904812d62dc019','en beam=1 int8','...',2.50707922499486812739e-02);
INSERT INTO "hypotheses" VALUES('v-0d9986537561','0411201d66a7f0c368121c5065d16e7394d6dbfa99564218305da4d2f323f008','en beam=1 int8','The conference cannot be extended.',2.50707922499486812739e-02);
CREATE TABLE inferences (
	id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	client_id TEXT, 
	speaker_group TEXT NOT NULL, 
	audio_sha256 TEXT NOT NULL, 
	source TEXT NOT NULL, 
	duration_s FLOAT NOT NULL, 
	version_id TEXT NOT NULL, 
	text TEXT NOT NULL, 
	avg_logprob FLOAT, 
	no_speech_prob FLOAT, 
	compression_ratio FLOAT, 
	latency_s FLOAT NOT NULL, 
	reported BOOLEAN NOT NULL, 
	CONSTRAINT pk_inferences PRIMARY KEY (id), 
	CONSTRAINT uq_inferences_client_id UNIQUE (client_id)
);
INSERT INTO "inferences" VALUES('inf-1a2049f1fd4342fea871e','2026-11-22 18:57:46.964768',NULL,'agent','f25c946a5b91aaeb3b5223c3f7cbc0f8b39d43bfcfa5f2da5a1a4b201b81b09f','agent-alreadyon',5.52,'v-24a7d3db4237','That agent is already logged on. Please enter your agent number followed by the pan key.',-1.41377401979346034588e-01,2.00226046144962310791e-02,1.08641975308641969277e+00,9.54412197700003162026e+00,0);
INSERT INTO "inferences" VALUES('inf-1a2049f1fd433614d5c2e','2026-11-22 18:57:46.964785',NULL,'agent','8174ca004ee4c103a4675349a33ede928955938d8dea6b8561321b2063a5d583','agent-loggedoff',1.46,'v-24a7d3db4237','Agent-Log-Doff',-1.02435564994812011718e+00,3.69358584284782409667e-02,6.36363636363636353543e-01,9.54412197700003162026e+00,0);
INSERT INTO "inferences" VALUES('inf-1a2049f1fd43f1f69714c','2026-11-22 18:57:46.964833',NULL,'astcc','2809eaacdc29be389e326c57b19e77ab77d0c43418fab07a9b241e0dc7b1278b','astcc-followed-by-the-pound-key',1.52,'v-24a7d3db4237','Follow Betapound Key.',-1.04628917149135047814e+00,2.64290031045675277709e-02,7.24137931034482762449e-01,9.54412197700003162026e+00,0);
INSERT INTO "inferences" VALUES('inf-1a204a9b85416f2d32199','2026-11-22 19:09:21.364808',NULL,'activated','19dbf4a57684da6112faf428619ceb46c9ca8d09d134d18e405661fd4d96290f','activated',1.08,'v-0d9986537561','Activated.',-1.43121365457773208618e-01,8.41086148284375667572e-06,5.55555555555555580227e-01,7.88339880000421544536e-02,0);
INSERT INTO "inferences" VALUES('inf-1a204a9b854384b8d4b86','2026-11-22 19:09:21.364851',NULL,'agent','36494e0d314625ea573c2f23bed707ebe7c98481bda7b170ba5b30b4aa99f64d','agent-newlocation',3.3,'v-0d9986537561','Please enter a new extension, followed by pound.',-3.56812919066710901652e-03,6.45788668407476507127e-06,8.57142857142857095276e-01,1.78633464998711133375e-01,0);
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
INSERT INTO "jobs" VALUES('job-1a2049f2907f6fbf92a54','2026-11-22 18:57:49.373375','completed','local','v-24a7d3db4237','ds-fbc22130e4d8f424','{"epochs": 8, "batch_size": 8, "learning_rate": 2e-05, "warmup_share": 0.1, "mask_time_share": 0.05, "mask_frequency_share": 0.05, "max_gradient_norm": 1.0, "margin_s": 1.0, "round_to": 64, "max_clip_s": 30.0, "seed": 0, "threads": 0, "precision": "auto"}','2026-11-22 19:07:40.357263',NULL,'{"training_loss": 0.21731781836991249, "trained_s": 582.5, "training_clips": 297, "left_out": 0, "validation_clips": 60, "validation_wer": [0.09057971014492754, 0.07246376811594203, 0.04710144927536232, 0.05434782608695652, 0.06884057971014493, 0.057971014492753624, 0.057971014492753624, 0.057971014492753624], "precision": "bfloat16"}');
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
INSERT INTO "observations" VALUES(1,'2026-11-22 19:09:12.976070','performance','v-24a7d3db4237',7.78280542986425349916e-02,3.07930500602098741746e-02,NULL,NULL,NULL,NULL,NULL,NULL,'{"validation": "val-1a2049f2907f6fbf92a54"}');
INSERT INTO "observations" VALUES(2,'2026-11-22 19:09:20.614730','performance','v-0d9986537561',5.33936651583710383817e-02,1.59986237742989860499e-02,NULL,NULL,NULL,NULL,NULL,NULL,'{"validation": "val-1a2049f2907f6fbf92a54"}');
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
INSERT INTO "suite_runs" VALUES('run-1a204a997ca601370c508','2026-11-22 19:09:13.034584','suite-1a2049f27fe7402bcdd22','cycle-1a2049f2907f6fbf92a54','v-0d9986537561','v-24a7d3db4237',1,'["words on 1 of 5 silent clips (live version: 4)"]','{"utterances": 5, "words": 0, "silent": 5, "audio_s": 26.38, "normalizer": "whisper-english", "baseline": {"wer": null, "cer": null, "errors": 4, "substitutions": 0, "deletions": 0, "insertions": 4, "wer_interval": [null, null], "silent_with_text": 4, "compute_s": 2.3674006346248007}, "candidate": {"wer": null, "cer": null, "errors": 1, "substitutions": 0, "deletions": 0, "insertions": 1, "wer_interval": [null, null], "silent_with_text": 1, "compute_s": 0.30128627906113553}, "reduction_interval": [null, null], "p_value": 0.13361440253771625, "z": 1.4999999999999998, "changed": [{"audio_sha256": "06b14f70d555bacc9248451736128b7aefee6595726fc48f04904812d62dc019", "reference": "", "words": 0, "baseline": "you", "candidate": "...", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "21de7fce38b09378fd277cae30d064b049921e30e5378b48f6cd0ca5ddcc05d0", "reference": "", "words": 0, "baseline": "you", "candidate": "...", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "23b066d6adb25951699d9005396bf1aa86e5977a3749849363935111ca95c8cc", "reference": "", "words": 0, "baseline": "you", "candidate": "...", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "60591366a9964cd27cde2dbfb438aecb0f8575e19627c24084fdff23cc0b2bb0", "reference": "", "words": 0, "baseline": "you", "candidate": "...", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "e60341bb41ead0db617182e09db44713f7f6b9a523f3b69b9bad79ac6ce78c3c", "reference": "", "words": 0, "baseline": "", "candidate": "oo", "baseline_errors": 0, "candidate_errors": 1}], "slices": [{"name": "under 1 s", "kind": "length", "utterances": 1, "words": 0, "baseline_errors": 0, "candidate_errors": 1, "p_value": null, "worse": false}, {"name": "1\u20133 s", "kind": "length", "utterances": 1, "words": 0, "baseline_errors": 1, "candidate_errors": 0, "p_value": null, "worse": false}, {"name": "3\u201310 s", "kind": "length", "utterances": 3, "words": 0, "baseline_errors": 3, "candidate_errors": 0, "p_value": null, "worse": false}], "failures": [], "held_to": {"baseline_wer": null, "baseline_cer": null, "sample_degradation_threshold": 0.2}}');
INSERT INTO "suite_runs" VALUES('run-1a204a9b4ca0bd3da865c','2026-11-22 19:09:20.458486','suite-1a2049f28843fe82ab429','cycle-1a2049f2907f6fbf92a54','v-0d9986537561','v-24a7d3db4237',1,'["9 word errors where the live version makes 14"]','{"utterances": 3, "words": 332, "silent": 0, "audio_s": 134.78, "normalizer": "whisper-english", "baseline": {"wer": 0.04216867469879518, "cer": 0.018487394957983194, "errors": 14, "substitutions": 9, "deletions": 5, "insertions": 0, "wer_interval": [0.032, 0.07317073170731707], "silent_with_text": 0, "compute_s": 3.5265377720006654}, "candidate": {"wer": 0.02710843373493976, "cer": 0.010084033613445379, "errors": 9, "substitutions": 5, "deletions": 4, "insertions": 0, "wer_interval": [0.012195121951219513, 0.032], "silent_with_text": 0, "compute_s": 3.051436569998259}, "reduction_interval": [0.0, 0.06097560975609756], "p_value": 0.31731050786291415, "z": 1.0, "changed": [{"audio_sha256": "d774dd508601a27a824cf3ddd1bdf6dc4ddf4a7cedb26c08c3f41911a11b4b95", "reference": "Dial 1 if you wish this caller to reach you directly now, and in the future. Dial 2 if you wish to send this caller to voicemail now and forevermore. Dial 3 to send this caller to the torture menus, now and forevermore. Dial 4 to send this caller to a polite \"don''t call\" menu, now and forevermore. Dial 5 to allow this caller to come straight thru to you in the future, but just this once, send them to voicemail.", "words": 82, "baseline": "Dial 1. If you wish this color to reach you directly now and in the future. Dial 2. If you wish to send this color to voicemail now and forevermore. Dial 3. To send this color to the torture menus. Now and forevermore. Dial 4. To send this color to a polite don''t call menu. Now and forevermore. Dial 5. To allow this color to come straight through to you in the future. But just this once. Send them to voicemail.", "candidate": "Dial 1. If you wish this caller to reach you directly now and in the future. Dial 2. If you wish to send this caller to voicemail now and forevermore. Dial 3. To send this caller to the torture menus. Now and forevermore. Dial 4. To send this caller to a polite don''t call menu. Now and forevermore. Dial 5. To allow this caller to come straight through to you in the future. But just this once... Send them to voicemail.", "baseline_errors": 6, "candidate_errors": 1}], "slices": [{"name": "over 30 s", "kind": "length", "utterances": 3, "words": 332, "baseline_errors": 14, "candidate_errors": 9, "p_value": null, "worse": false}], "failures": [], "held_to": {"baseline_wer": 0.04216867469879518, "baseline_cer": 0.018487394957983194, "sample_degradation_threshold": 0.2}}');
INSERT INTO "suite_runs" VALUES('run-1a204a9b4dcb98ab9bda9','2026-11-22 19:09:20.476287','suite-1a2049f28eea6928e60d6','cycle-1a2049f2907f6fbf92a54','v-0d9986537561','v-24a7d3db4237',1,'["25 word errors where the live version makes 29", "10 of 88 utterances fail, with WER up by more than 0.2, and 12 recover"]','{"utterances": 88, "words": 89, "silent": 0, "audio_s": 78.38, "normalizer": "whisper-english", "baseline": {"wer": 0.3258426966292135, "cer": 0.18114143920595532, "errors": 29, "substitutions": 25, "deletions": 1, "insertions": 3, "wer_interval": [0.22399701492537316, 0.5], "silent_with_text": 0, "compute_s": 38.00115258812605}, "candidate": {"wer": 0.2808988764044944, "cer": 0.12655086848635236, "errors": 25, "substitutions": 22, "deletions": 1, "insertions": 2, "wer_interval": [0.18420296430732008, 0.3764744079449961], "silent_with_text": 0, "compute_s": 1.1634317656872781}, "reduction_interval": [-0.05813953488372092, 0.2444444444444444], "p_value": 0.49402782202348516, "z": 0.6839166144230383, "changed": [{"audio_sha256": "0d3cb6e36454ce3afd95e67a0ac3a97123bb0ab4c792c7d1cfe72596d93a677e", "reference": "kilo", "words": 1, "baseline": "T-Lo!", "candidate": "kilo", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "0d790b8bf28dafbba78525450b831bfee53c35c85323c743517cc49964227245", "reference": "comma", "words": 1, "baseline": "Karma", "candidate": "comma", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "0eac76e64d52ce35352126b408a9e3cbb99882b8233f95b87c3ceb5e08a2aaf5", "reference": "uppercase", "words": 1, "baseline": "Upper case.", "candidate": "uppercase", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "0fc25b8fdc219b6d68117ffed4651f6e6df96c923ee2036d3e74d9a88ab7b1ce", "reference": "fifteen", "words": 1, "baseline": "15.", "candidate": "sixteen", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "2abe30f4f72a00326b0ffaf372df3d901dd8c1be22e6ff90c3fef7954ce83f5b", "reference": "eightieth", "words": 1, "baseline": "ADF.", "candidate": "eighty-th", "baseline_errors": 1, "candidate_errors": 2}, {"audio_sha256": "2c9dad02262ba8be0e7deba4916100f137c1d4246c753478e160ef907d70f88e", "reference": "fourth", "words": 1, "baseline": "Boys.", "candidate": "fourth", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "325dfa65d2bc5d79c514673dfeedb2b34268b5cd53212e2f454ecb49066e3295", "reference": "and", "words": 1, "baseline": "And...", "candidate": "end", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "3db6a14ccf84fe60868daa4932e016a665ef319b5aaee3c0faf9747bdc8e14c9", "reference": "seventieth", "words": 1, "baseline": "70th.", "candidate": "seventeenth", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "4765fba9b1c68cb31eb91cc5a82d1144eb6f73aa135925861d5685ed6e0c4d8b", "reference": "Enabled.", "words": 1, "baseline": "enabled.", "candidate": "Enable.", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "544e22553de58e856839511178d6219feaa2d32594a9e1abd0176ac04e62546e", "reference": "eight", "words": 1, "baseline": "8.", "candidate": "eighth", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "5da501c188394234f3f1fde7cd458669541301a177389899c6e632c6c7ca16a0", "reference": "ninth", "words": 1, "baseline": "9", "candidate": "ninth", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "659967f6698d7e0b95b86a0ca2ea61cb820cbfab296573cf7f62547aa581480c", "reference": "foxtrot", "words": 1, "baseline": "Foxtrot", "candidate": "fokstrad", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "66d0084ab388d3406bf0a14a5ea2e7b8285ca8f9344b75252d0c67d2e83bc27f", "reference": "dot", "words": 1, "baseline": "DUD!", "candidate": "dot", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "6b1abfd699c274ba30cca43f88c9a44218ebb4a56c55bb35ee57672ed1c3ba4c", "reference": "sixtieth", "words": 1, "baseline": "60 years.", "candidate": "sixtieth", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "72959c9ffe545705abac918fee0b48317066a4d4db170447e38de9a7262eec76", "reference": "fourteenth", "words": 1, "baseline": "14.", "candidate": "fourteenth", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "75ea12d30c3669f05aa35f10f06ba2be27c6f753d48389e6cf0e9bd52eb511f2", "reference": "nineteen", "words": 1, "baseline": "19.", "candidate": "nineteenth", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "92eda8a0266551b3612bc9b1bab873fca77654fde3d451f1e025bc73f613090e", "reference": "s", "words": 1, "baseline": "Earth.", "candidate": "S", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "951650c6c5dde13382dec2fbe4c18a00347d9f4f2f645b95133ccb59fee59d73", "reference": "i", "words": 1, "baseline": "Bye!", "candidate": "i", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "952d873e13003ebd8e95e1b809d634f49d6f33dc060d1348c999ca97610b797a", "reference": "fifteenth", "words": 1, "baseline": "15th.", "candidate": "th 1st", "baseline_errors": 0, "candidate_errors": 2}, {"audio_sha256": "b89edb2e97ffddfab48af79d9cb90e6bb77cc00d71e9d443837a8f1b8eca1f20", "reference": "minutes", "words": 1, "baseline": "Minute.", "candidate": "minutes", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "c2fe6769ff5b6f7b8f65bf1f08e4ba988fc33dd8e2f8a399277a1ca57cd1eba5", "reference": "niner", "words": 1, "baseline": "Niner.", "candidate": "neither", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "dde3e4e772ebbdc95b5f83211d2669aa5891e4c13ea13685a35dbbf06a8e6c5e", "reference": "h", "words": 1, "baseline": "age.", "candidate": "h", "baseline_errors": 1, "candidate_errors": 0}], "slices": [{"name": "digits", "kind": "group", "utterances": 35, "words": 35, "baseline_errors": 9, "candidate_errors": 11, "p_value": 0.6209002343374513, "worse": false}, {"name": "under 1 s", "kind": "length", "utterances": 65, "words": 65, "baseline_errors": 21, "candidate_errors": 16, "p_value": 0.2501771730662783, "worse": false}, {"name": "1\u20133 s", "kind": "length", "utterances": 23, "words": 24, "baseline_errors": 8, "candidate_errors": 9, "p_value": null, "worse": false}], "failures": [], "held_to": {"baseline_wer": 0.3258426966292135, "baseline_cer": 0.18114143920595532, "sample_degradation_threshold": 0.2}}');
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
INSERT INTO "suites" VALUES('suite-1a2049f27162d36efe826','2026-11-22 18:57:48.822900','benchmark','benchmark','ds-340a8ab61bacee34','the held-out prompts of up to 30 s','',NULL,NULL,NULL,NULL);
INSERT INTO "suites" VALUES('suite-1a2049f27e088b0d387b7','2026-11-22 18:57:49.024895','numbers and PINs','critical','ds-d564aecd49167493','sentences with digits, numbers, PINs and passwords','',NULL,NULL,NULL,NULL);
INSERT INTO "suites" VALUES('suite-1a2049f27fe7402bcdd22','2026-11-22 18:57:49.054334','no speech','edge_case','ds-64492fa7e31fdcaa','silence, tones and screaming monkeys: nobody speaks, so no words may come','',NULL,NULL,NULL,NULL);
INSERT INTO "suites" VALUES('suite-1a2049f28843fe82ab429','2026-11-22 18:57:49.188611','over 30 s','edge_case','ds-55d9c7f7d1d64df5','longer than Whisper''s window','',NULL,NULL,NULL,NULL);
INSERT INTO "suites" VALUES('suite-1a2049f28eea6928e60d6','2026-11-22 18:57:49.294938','one word','edge_case','ds-c891d2ea8aca8287','clips of a single word','',NULL,NULL,NULL,NULL);
INSERT INTO "suites" VALUES('suite-1a204a9bbc540c1e6d7d6','2026-11-22 19:09:22.245957','Critical Benchmark','benchmark','ds-7eea8a205abc90f8','','v-24a7d3db4237',7.78280542986425349916e-02,3.07930500602098741746e-02,0.05,0.05);
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
INSERT INTO "validations" VALUES('val-1a2049f2907f6fbf92a54','2026-11-22 19:09:12.969397','v-0d9986537561','v-24a7d3db4237','ds-340a8ab61bacee34','held-out',1,'["WER 7.78% \u2192 5.34% on 1105 words, an improvement of 2.44%", "p = 0.0075 is below 0.05", "CER 3.08% \u2192 1.60%", "WER rises by more than 0.2 on 12 of 208 utterances", "none of 11 slices is worse by more than chance"]','{"utterances": 208, "words": 1105, "silent": 5, "audio_s": 526.8, "normalizer": "whisper-english", "baseline": {"wer": 0.07782805429864253, "cer": 0.030793050060209874, "errors": 86, "substitutions": 69, "deletions": 3, "insertions": 14, "wer_interval": [0.05052594561852201, 0.1392080383755588], "silent_with_text": 4, "compute_s": 82.67224098299994}, "candidate": {"wer": 0.05339366515837104, "cer": 0.015998623774298986, "errors": 59, "substitutions": 47, "deletions": 3, "insertions": 9, "wer_interval": [0.0342510382317484, 0.08980900175930145], "silent_with_text": 1, "compute_s": 7.616716405002078}, "reduction_interval": [0.007312280654932679, 0.06367673410810139], "p_value": 0.007504451433920691, "z": 2.6735883122780537, "changed": [{"audio_sha256": "06b14f70d555bacc9248451736128b7aefee6595726fc48f04904812d62dc019", "reference": "", "words": 0, "baseline": "you", "candidate": "...", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "0d3cb6e36454ce3afd95e67a0ac3a97123bb0ab4c792c7d1cfe72596d93a677e", "reference": "kilo", "words": 1, "baseline": "T-Lo!", "candidate": "kilo", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "0d790b8bf28dafbba78525450b831bfee53c35c85323c743517cc49964227245", "reference": "comma", "words": 1, "baseline": "Karma", "candidate": "comma", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "0eac76e64d52ce35352126b408a9e3cbb99882b8233f95b87c3ceb5e08a2aaf5", "reference": "uppercase", "words": 1, "baseline": "Upper case.", "candidate": "uppercase", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "0fc25b8fdc219b6d68117ffed4651f6e6df96c923ee2036d3e74d9a88ab7b1ce", "reference": "fifteen", "words": 1, "baseline": "15.", "candidate": "sixteen", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "124b51184a673ce326d3603df3dad9fa5c625c21c4de8eb603a67d71c7eeb999", "reference": "Press 1 for", "words": 3, "baseline": "Press 1-4.", "candidate": "press 1 for", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "1bc76a64eb64011a5ce1955aef0bcc3674ac5b72910d4da4bff913e29f746e3c", "reference": "You have these options: Dial 1 if you wish to immediately connect to the incoming call. Dial 2 if you wish to send this caller to voicemail. Dial 3 to send this caller to the torture menus. Dial 4 to send this caller to a polite \"don''t call\" menu.", "words": 50, "baseline": "You have these options. Dial 1. If you wish to immediately connect to the incoming call. Dial 2. If you wish to send this color to voicemail. Dial 3. To send this color to the torture menus. Dial 4. To send this color to a polite, don''t call menu.", "candidate": "You have these options. Dial 1. If you wish to immediately connect to the incoming call. Dial 2. If you wish to send this caller to voicemail. Dial 3. To send this caller to the torture menus. Dial 4. To send this caller to a polite, don''t call menu.", "baseline_errors": 3, "candidate_errors": 0}, {"audio_sha256": "1c57326e42d45ef45334f94f6421a4206689e2b6d408fb38f81a643f045c63ef", "reference": "Parking attempt failed.", "words": 3, "baseline": "Parking attempt to failed.", "candidate": "Parking attempt failed.", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "21de7fce38b09378fd277cae30d064b049921e30e5378b48f6cd0ca5ddcc05d0", "reference": "", "words": 0, "baseline": "you", "candidate": "...", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "23b066d6adb25951699d9005396bf1aa86e5977a3749849363935111ca95c8cc", "reference": "", "words": 0, "baseline": "you", "candidate": "...", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "2abe30f4f72a00326b0ffaf372df3d901dd8c1be22e6ff90c3fef7954ce83f5b", "reference": "eightieth", "words": 1, "baseline": "ADF.", "candidate": "eighty-th", "baseline_errors": 1, "candidate_errors": 2}, {"audio_sha256": "2c9dad02262ba8be0e7deba4916100f137c1d4246c753478e160ef907d70f88e", "reference": "fourth", "words": 1, "baseline": "Boys.", "candidate": "fourth", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "2e0559fdad37c2d2a4503ebdd213dbd4b9d7064f06353bc0b397d8632db6579c", "reference": "close parenthesis", "words": 2, "baseline": "Close parentheses.", "candidate": "Close parenthesis", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "325dfa65d2bc5d79c514673dfeedb2b34268b5cd53212e2f454ecb49066e3295", "reference": "and", "words": 1, "baseline": "And...", "candidate": "end", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "33d0603885addd11e91581fe491dea40dafa4a145bc0a6c41482eeead96b0417", "reference": "Welcome to the directory. Please enter the first three letters of your party''s last name using your touch tone keypad. Use the 7 key for Q and the 9 key for Z.", "words": 33, "baseline": "Welcome to the directory. Please enter the first three letters of your party''s last name, using your Touchtone keypad. Use the 7 key for Q and the 9 key for Z.", "candidate": "Welcome to the directory. Please enter the first three letters of your party''s last name using your touch tone keypad. Use the 7 key for Q and the 9 key for Z.", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "35ef2830642c89e32e6df63e596b814a04732d4893236920eae8bc839b282d0d", "reference": "Welcome to Comedian Mail. First, I will guide you through a short setup process.", "words": 14, "baseline": "Welcome to Comedian Mail. First, I will guide you through a short setup process.", "candidate": "Welcome to comedian mail. First, I will guide you through a short set up process.", "baseline_errors": 0, "candidate_errors": 2}, {"audio_sha256": "3941d6246be3266baea4421003fe972f0d06f6bba8369737cb76b803a1da2eb8", "reference": "To leave a message, please enter a mailbox number.", "words": 9, "baseline": "To leave a message, please enter a mailbox number.", "candidate": "To leave the message, please enter a mailbox number.", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "3db6a14ccf84fe60868daa4932e016a665ef319b5aaee3c0faf9747bdc8e14c9", "reference": "seventieth", "words": 1, "baseline": "70th.", "candidate": "seventeenth", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "41e5733a9b2888be731d1faaf98d6301f641e59d0c79d07886bee51071a2d03b", "reference": "The passwords you entered and re-entered did not match. Please try again.", "words": 13, "baseline": "But as for you entered and re-entered did not match. Please try again.", "candidate": "The password you entered and re-enter did not match. Please try again.", "baseline_errors": 3, "candidate_errors": 2}, {"audio_sha256": "4765fba9b1c68cb31eb91cc5a82d1144eb6f73aa135925861d5685ed6e0c4d8b", "reference": "Enabled.", "words": 1, "baseline": "enabled.", "candidate": "Enable.", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "53f9fb947f46f98ee3129f2b2bdce2ec1d1859e595fe7d72d16ec446d6d2689c", "reference": "Press 2 to change folders, press 3 for advanced options, press zero for mailbox options.", "words": 15, "baseline": "Press 2 to change folders. Press 3 for advanced options. Press 0 for mailbox options.", "candidate": "press 2 to change folders, press 3 for advanced options, press 0 for mail box options", "baseline_errors": 0, "candidate_errors": 2}, {"audio_sha256": "544e22553de58e856839511178d6219feaa2d32594a9e1abd0176ac04e62546e", "reference": "eight", "words": 1, "baseline": "8.", "candidate": "eighth", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "588d1937453838de82f7130a3dee4453d09061b5bfe24a9cb8bb65277d38b932", "reference": "Enter a numeric dictation filename followed by pound or just pound to exit", "words": 13, "baseline": "Enter a numeric dictation file name followed by town or just pound to exit.", "candidate": "enter a numeric dictation file name followed by pound or just pound to exit", "baseline_errors": 3, "candidate_errors": 2}, {"audio_sha256": "5da501c188394234f3f1fde7cd458669541301a177389899c6e632c6c7ca16a0", "reference": "ninth", "words": 1, "baseline": "9", "candidate": "ninth", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "60591366a9964cd27cde2dbfb438aecb0f8575e19627c24084fdff23cc0b2bb0", "reference": "", "words": 0, "baseline": "you", "candidate": "...", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "659967f6698d7e0b95b86a0ca2ea61cb820cbfab296573cf7f62547aa581480c", "reference": "foxtrot", "words": 1, "baseline": "Foxtrot", "candidate": "fokstrad", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "66d0084ab388d3406bf0a14a5ea2e7b8285ca8f9344b75252d0c67d2e83bc27f", "reference": "dot", "words": 1, "baseline": "DUD!", "candidate": "dot", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "6b1abfd699c274ba30cca43f88c9a44218ebb4a56c55bb35ee57672ed1c3ba4c", "reference": "sixtieth", "words": 1, "baseline": "60 years.", "candidate": "sixtieth", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "6ec4dde877dc2a901a935ce6ddc043db9d6b2c49c04da770b99178b100a8229e", "reference": "Please check the number and dial again.", "words": 7, "baseline": "Please check the number in dial again.", "candidate": "Please check the number and dial again.", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "72959c9ffe545705abac918fee0b48317066a4d4db170447e38de9a7262eec76", "reference": "fourteenth", "words": 1, "baseline": "14.", "candidate": "fourteenth", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "75ea12d30c3669f05aa35f10f06ba2be27c6f753d48389e6cf0e9bd52eb511f2", "reference": "nineteen", "words": 1, "baseline": "19.", "candidate": "nineteenth", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "779152761e5a4d5a58450f8625bbee1d9aaa4a6112e79948a5eee91a5b82f08d", "reference": "Which folder should I save the message to?", "words": 8, "baseline": "Which folder should I say this message too?", "candidate": "Which folder should I say this message to?", "baseline_errors": 3, "candidate_errors": 2}, {"audio_sha256": "92eda8a0266551b3612bc9b1bab873fca77654fde3d451f1e025bc73f613090e", "reference": "s", "words": 1, "baseline": "Earth.", "candidate": "S", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "951650c6c5dde13382dec2fbe4c18a00347d9f4f2f645b95133ccb59fee59d73", "reference": "i", "words": 1, "baseline": "Bye!", "candidate": "i", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "952d873e13003ebd8e95e1b809d634f49d6f33dc060d1348c999ca97610b797a", "reference": "fifteenth", "words": 1, "baseline": "15th.", "candidate": "th 1st", "baseline_errors": 0, "candidate_errors": 2}, {"audio_sha256": "a05bc4d367c44c346fd5ee5bc31aa58881dce1ea2b9fc421451429e8b1b64ead", "reference": "Telephone number.", "words": 2, "baseline": "Caliphone number.", "candidate": "telephone number", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "a22ea3c94395ddcaea029f636a223bec81d1ff8b4d112a05348ac3f79bc8ff2e", "reference": "press 3 to rerecord your message", "words": 6, "baseline": "Press 3 to re-record your message.", "candidate": "press 3 to rerecord your message", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "a98acde57bfa1c5a0114aad16150967a8c545f9a992b986b9a4a6a85190454de", "reference": "Your call is now first in line and will be answered by the next available representative.", "words": 16, "baseline": "Your call is now first in line and will be answered by the next available representatives.", "candidate": "Your call is now first in line and will be answered by the next available representative.", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "b050aaeef7844f230d5aee5e9380b130dbfc251b89d90e0003477216035f73e2", "reference": "I have a caller waiting, who introduces themselves as:", "words": 9, "baseline": "I have a color rating who introduces themselves as.", "candidate": "I have a caller waiting who introduces themselves as.", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "b89edb2e97ffddfab48af79d9cb90e6bb77cc00d71e9d443837a8f1b8eca1f20", "reference": "minutes", "words": 1, "baseline": "Minute.", "candidate": "minutes", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "bca0f5848281870750893b23a4e0f10418ee84c4d8dc9bf02ffac80eae10a944", "reference": "press 0 to reach an operator", "words": 6, "baseline": "Press zero to eek and operator.", "candidate": "press 0 to reach an operator", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "c2fe6769ff5b6f7b8f65bf1f08e4ba988fc33dd8e2f8a399277a1ca57cd1eba5", "reference": "niner", "words": 1, "baseline": "Niner.", "candidate": "neither", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "ca33dc48e1f6d01f99cb6a73f7e7631edaaeb33ed02a23aa8cf8e0b433e29cb3", "reference": "... using your touchtone keypad. Use the 7 key for Q, and the 9 key for Z.", "words": 16, "baseline": "Using your Touchtone keypad, use the 7 key for Q and the 9 key for Z.", "candidate": "Using your touch tone keypad, use the 7 key for Q and the 9 key for Z.", "baseline_errors": 0, "candidate_errors": 2}, {"audio_sha256": "caf0a568f58be76e649c20328c89c35f8847b35a3650f070ca5988e8686564f8", "reference": "Waiting to speak with a representative", "words": 6, "baseline": "Waiting to speak with our representatives.", "candidate": "waiting to speak with a representative", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "d4c1e9c34625c77faaa84c6397be3feaafefaffafad6ff0632c049cd6564de73", "reference": "Un-indentified or witheld and therefore cannot be called back.", "words": 10, "baseline": "unidentified or wave held and therefore cannot be called back.", "candidate": "Unidentified, or withheld, and therefore cannot be called back.", "baseline_errors": 4, "candidate_errors": 3}, {"audio_sha256": "db01bf94b3111b8104a85fa6bdf1dbc3711a324757d70637875bb15a0c22ff67", "reference": "Weasels have eaten our phone system", "words": 6, "baseline": "Weasels have eaten our foam system.", "candidate": "Weasels have eaten our phone system.", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "dde3e4e772ebbdc95b5f83211d2669aa5891e4c13ea13685a35dbbf06a8e6c5e", "reference": "h", "words": 1, "baseline": "age.", "candidate": "h", "baseline_errors": 1, "candidate_errors": 0}, {"audio_sha256": "e114214cd034002f190b8f1a1059ba402f56165720783378533047dc0a493641", "reference": "No empty conferences currently exist.", "words": 5, "baseline": "No empty conferences currently exist.", "candidate": "No empty conference is currently exist.", "baseline_errors": 0, "candidate_errors": 2}, {"audio_sha256": "e60341bb41ead0db617182e09db44713f7f6b9a523f3b69b9bad79ac6ce78c3c", "reference": "", "words": 0, "baseline": "", "candidate": "oo", "baseline_errors": 0, "candidate_errors": 1}, {"audio_sha256": "eded7ff56973085fb953ab2e0ae4dfe17750a27ba9523029a03789a702e2d203", "reference": "... letters of your party''s first or last name.", "words": 9, "baseline": "Letters of your parties first or last name.", "candidate": "... letters of your party''s first or last name.", "baseline_errors": 2, "candidate_errors": 0}, {"audio_sha256": "f00e81c7b7b667eb56c54deb57ed1cf64a3d3a6cc689aff2b498d5bf59eb2e3c", "reference": "Asterisk is an Open Source full-featured PBX and IVR platform that runs on the linux operating system. For more information, visit www.asterisk.org.", "words": 25, "baseline": "AASTER-SK is an open source, full featured PBX and IVR platform that runs on the Linux operating system. For more information, visit www.ASTER-SK.org.", "candidate": "Asterisk is an open-source, full-featured PBX and IBR platform that runs on the Linux operating system. For more information, visit www.astarisk.org.", "baseline_errors": 4, "candidate_errors": 2}, {"audio_sha256": "f14688330380dce927258d7e7f047047550be363cc042de25f97b19ebcdbf72d", "reference": "The last caller was...", "words": 4, "baseline": "The last color was.", "candidate": "The last caller was...", "baseline_errors": 1, "candidate_errors": 0}], "slices": [{"name": "vm", "kind": "group", "utterances": 49, "words": 331, "baseline_errors": 16, "candidate_errors": 15, "p_value": 0.828921708617752, "worse": false}, {"name": "conf", "kind": "group", "utterances": 11, "words": 152, "baseline_errors": 1, "candidate_errors": 3, "p_value": 0.31731050786291415, "worse": false}, {"name": "dir", "kind": "group", "utterances": 7, "words": 85, "baseline_errors": 4, "candidate_errors": 2, "p_value": 0.5838824207703651, "worse": false}, {"name": "confbridge", "kind": "group", "utterances": 13, "words": 79, "baseline_errors": 0, "candidate_errors": 1, "p_value": 0.31731050786291415, "worse": false}, {"name": "queue", "kind": "group", "utterances": 9, "words": 70, "baseline_errors": 7, "candidate_errors": 3, "p_value": 0.06645742001693117, "worse": false}, {"name": "dictate", "kind": "group", "utterances": 7, "words": 69, "baseline_errors": 6, "candidate_errors": 5, "p_value": 0.31731050786291415, "worse": false}, {"name": "digits", "kind": "group", "utterances": 35, "words": 35, "baseline_errors": 9, "candidate_errors": 11, "p_value": 0.6209002343374513, "worse": false}, {"name": "under 1 s", "kind": "length", "utterances": 68, "words": 68, "baseline_errors": 21, "candidate_errors": 17, "p_value": 0.37180618986443437, "worse": false}, {"name": "1\u20133 s", "kind": "length", "utterances": 94, "words": 354, "baseline_errors": 33, "candidate_errors": 21, "p_value": 0.054297160405661266, "worse": false}, {"name": "3\u201310 s", "kind": "length", "utterances": 38, "words": 409, "baseline_errors": 21, "candidate_errors": 17, "p_value": 0.4522984720270644, "worse": false}, {"name": "10\u201330 s", "kind": "length", "utterances": 8, "words": 274, "baseline_errors": 11, "candidate_errors": 4, "p_value": 0.0470799566541856, "worse": false}], "failures": []}','683c075beb55762278db1ad5be613d0ce1cf882698ef82d02a647989fe026c1c');
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
INSERT INTO "versions" VALUES('v-24a7d3db4237','2026-11-22 18:54:57.935163','whisper-tiny.en','{"config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5", "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a", "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df", "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"}','bundled:whisper-tiny.en',NULL,NULL,NULL,'{}',NULL,'{}',NULL);
INSERT INTO "versions" VALUES('v-0d9986537561','2026-11-22 19:07:40.602782','whisper-tiny.en','{"config.json": "045f0710121846386cc5b2fee964dcf817a517319e498a09da23e6ccd6131ec7", "misheard.json": "1430a7a44faa1c671a249824863cd8f04b50bd00ea8d9586a383366407b12c5d", "model.bin": "cf700ed28f57d7c8c61ad774d33cf9dcb2ee2621565371f36f96163a2ee47810", "tokenizer.json": "8ef682f80f2b31df55c6f7176fb81bb25545d56f34d12d642226ae53097b031e", "vocabulary.json": "4dadfee7c4a871665f65c06037f5f5ec893fb2d7f5eb4cf11063618e31dbe11a"}','job-1a2049f2907f6fbf92a54','v-24a7d3db4237','ds-fbc22130e4d8f424','job-1a2049f2907f6fbf92a54','{"training_loss": 0.21731781836991249, "trained_s": 582.5, "training_clips": 297, "left_out": 0, "validation_clips": 60, "validation_wer": [0.09057971014492754, 0.07246376811594203, 0.04710144927536232, 0.05434782608695652, 0.06884057971014493, 0.057971014492753624, 0.057971014492753624, 0.057971014492753624], "precision": "bfloat16"}',NULL,'{}',NULL);
CREATE INDEX ix_audit_action ON audit (action);
CREATE INDEX ix_audit_created_at ON audit (created_at);
CREATE INDEX ix_datasets_name ON datasets (name);
CREATE INDEX ix_inferences_audio_sha256 ON inferences (audio_sha256);
CREATE INDEX ix_inferences_created_at ON inferences (created_at);
CREATE INDEX ix_inferences_version_id_created_at ON inferences (version_id, created_at);
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
CREATE INDEX ix_cycles_created_at ON cycles (created_at);
CREATE INDEX ix_cycles_state ON cycles (state);
CREATE INDEX ix_suite_runs_candidate_id ON suite_runs (candidate_id);
CREATE INDEX ix_suite_runs_created_at ON suite_runs (created_at);
CREATE INDEX ix_suite_runs_cycle_id ON suite_runs (cycle_id);
CREATE INDEX ix_suite_runs_suite_id ON suite_runs (suite_id);
CREATE INDEX ix_cycle_steps_cycle_id ON cycle_steps (cycle_id);
COMMIT;
