--
-- PostgreSQL database dump
--



SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';


--
-- Name: attempt; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.attempt (
    job_id character varying(40) NOT NULL,
    number integer NOT NULL,
    epoch integer NOT NULL,
    strategy character varying(16) NOT NULL,
    items json,
    status character varying(16) NOT NULL,
    remote_id text,
    remote_status text,
    message text NOT NULL,
    cost double precision,
    lease_owner text,
    lease_until timestamp with time zone,
    sent_at timestamp with time zone,
    accepted_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT attempt_status_check CHECK (((status)::text = ANY ((ARRAY['CANCELLED'::character varying, 'CANCELLING'::character varying, 'COMPLETED'::character varying, 'CREATED'::character varying, 'DEPLETED'::character varying, 'ERROR'::character varying, 'QUEUED'::character varying, 'RETRYING'::character varying, 'RUNNING'::character varying, 'SUBMITTED'::character varying, 'SUBMITTING'::character varying, 'TERMINATED'::character varying, 'UNKNOWN'::character varying])::text[])))
);


--
-- Name: event; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.event (
    id bigint NOT NULL,
    job_id character varying(40) NOT NULL,
    item_index integer,
    at timestamp with time zone NOT NULL,
    old character varying(16),
    new character varying(16) NOT NULL,
    cause text NOT NULL,
    detail text NOT NULL
);


--
-- Name: event_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: event_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.event_id_seq OWNED BY public.event.id;


--
-- Name: item; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.item (
    job_id character varying(40) NOT NULL,
    item_index integer NOT NULL,
    label text NOT NULL,
    program_hash character varying(64) NOT NULL,
    source_hash character varying(64),
    parameters json NOT NULL,
    shots integer NOT NULL,
    status character varying(16) NOT NULL,
    queue_position integer,
    message text NOT NULL,
    error_detail text,
    cost double precision,
    cancel_requested_at timestamp with time zone,
    created_at timestamp with time zone,
    submitted_at timestamp with time zone,
    queued_at timestamp with time zone,
    running_at timestamp with time zone,
    retrying_at timestamp with time zone,
    cancelling_at timestamp with time zone,
    completed_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    error_at timestamp with time zone,
    depleted_at timestamp with time zone,
    terminated_at timestamp with time zone,
    CONSTRAINT item_shots_check CHECK ((shots >= 0)),
    CONSTRAINT item_status_check CHECK (((status)::text = ANY ((ARRAY['CANCELLED'::character varying, 'CANCELLING'::character varying, 'COMPLETED'::character varying, 'CREATED'::character varying, 'DEPLETED'::character varying, 'ERROR'::character varying, 'QUEUED'::character varying, 'RETRYING'::character varying, 'RUNNING'::character varying, 'SUBMITTED'::character varying, 'SUBMITTING'::character varying, 'TERMINATED'::character varying, 'UNKNOWN'::character varying])::text[])))
);


--
-- Name: job; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.job (
    job_id character varying(40) NOT NULL,
    key character varying(64) NOT NULL,
    kind character varying(16) NOT NULL,
    backend text NOT NULL,
    device text NOT NULL,
    name text NOT NULL,
    experiment text NOT NULL,
    run text NOT NULL,
    project text NOT NULL,
    owner text NOT NULL,
    spec json NOT NULL,
    status character varying(16) NOT NULL,
    message text NOT NULL,
    epoch integer NOT NULL,
    n_items integer NOT NULL,
    cancel_requested_at timestamp with time zone,
    next_poll_at timestamp with time zone,
    polled_by text,
    trouble text,
    cost_estimate double precision,
    cost double precision,
    properties json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT job_status_check CHECK (((status)::text = ANY ((ARRAY['CANCELLED'::character varying, 'CANCELLING'::character varying, 'COMPLETED'::character varying, 'CREATED'::character varying, 'DEPLETED'::character varying, 'ERROR'::character varying, 'QUEUED'::character varying, 'RETRYING'::character varying, 'RUNNING'::character varying, 'SUBMITTED'::character varying, 'SUBMITTING'::character varying, 'TERMINATED'::character varying, 'UNKNOWN'::character varying])::text[])))
);


--
-- Name: ledger_meta; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.ledger_meta (
    name character varying(64) NOT NULL,
    value text NOT NULL
);


--
-- Name: program; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.program (
    hash character varying(64) NOT NULL,
    format character varying(16) NOT NULL,
    payload bytea NOT NULL,
    n_qubits integer NOT NULL,
    n_bits integer NOT NULL,
    measured boolean NOT NULL,
    parameters json NOT NULL
);


--
-- Name: result; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.result (
    job_id character varying(40) NOT NULL,
    epoch integer NOT NULL,
    item_index integer NOT NULL,
    attempt integer NOT NULL,
    payload bytea NOT NULL,
    received_at timestamp with time zone NOT NULL
);


--
-- Name: runner; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.runner (
    flow_run_id character varying(64) NOT NULL,
    owner text NOT NULL,
    flow text NOT NULL,
    server text NOT NULL,
    since timestamp with time zone NOT NULL,
    beat_at timestamp with time zone NOT NULL
);


--
-- Name: wait; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.wait (
    flow_run_id character varying(64) NOT NULL,
    job_id character varying(40) NOT NULL,
    until character varying(8) NOT NULL,
    server text DEFAULT ''::text NOT NULL,
    registered_at timestamp with time zone NOT NULL,
    deadline_at timestamp with time zone,
    at_deadline character varying(8),
    CONSTRAINT wait_until_check CHECK (((until)::text = ANY ((ARRAY['all'::character varying, 'any'::character varying])::text[])))
);


--
-- Name: event id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.event ALTER COLUMN id SET DEFAULT nextval('public.event_id_seq'::regclass);


--
-- Data for Name: attempt; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.attempt VALUES ('job-d93936e1daca4c06b5ff0c03bb5d7385', 1, 1, 'DEFAULT', NULL, 'CANCELLED', NULL, NULL, 'a person says that no remote job exists', NULL, 'host-a:100:1', NULL, NULL, NULL, '2026-11-01 12:14:55+00');
INSERT INTO public.attempt VALUES ('job-d8441b5616334aca9f552773e14b0190', 1, 1, 'DEFAULT', NULL, 'UNKNOWN', NULL, NULL, 'attempt 1: host-a:100:1 did not settle it within its lease', NULL, 'host-a:100:1', NULL, '2026-11-01 12:14:55+00', NULL, NULL);
INSERT INTO public.attempt VALUES ('job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 1, 1, 'DEFAULT', NULL, 'COMPLETED', '00000001-0000-4000-8000-000000000001', 'COMPLETED', '', 16.5, 'host-a:100:1', NULL, '2026-11-01 12:00:05+00', '2026-11-01 12:00:05+00', '2026-11-01 12:02:15+00');
INSERT INTO public.attempt VALUES ('job-8ca5996666ce4b368512bd1311072231', 1, 1, 'DEFAULT', NULL, 'QUEUED', '00000003-0000-4000-8000-000000000001', 'QUEUED', '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:00:15+00', '2026-11-01 12:00:15+00', NULL);
INSERT INTO public.attempt VALUES ('job-1710cf5327ac435aba97c643656412a9', 1, 1, 'DEFAULT', NULL, 'RUNNING', '00000002-0000-4000-8000-000000000001', 'RUNNING', '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:00:10+00', '2026-11-01 12:00:10+00', NULL);
INSERT INTO public.attempt VALUES ('job-8534f45738d048ec8f1099c6c3e1b258', 1, 1, 'DEFAULT', NULL, 'COMPLETED', 'aer-host-a-100-5000-1x3', 'COMPLETED', '', 16.5, 'host-a:100:1', NULL, '2026-11-01 12:05:20+00', '2026-11-01 12:05:20+00', '2026-11-01 12:07:20+00');
INSERT INTO public.attempt VALUES ('job-c79d679346d44c7a9c3902b38963dc6e', 1, 1, 'DEFAULT', NULL, 'COMPLETED', '00000004-0000-4000-8000-000000000001', 'COMPLETED', '', 5.5, 'host-a:100:1', NULL, '2026-11-01 12:07:25+00', '2026-11-01 12:07:25+00', '2026-11-01 12:09:25+00');
INSERT INTO public.attempt VALUES ('job-43000de01b2e440e93addccb2c33be0a', 1, 1, 'DEFAULT', NULL, 'ERROR', '00000005-0000-4000-8000-000000000001', 'ERROR', '', 11, 'host-a:100:1', NULL, '2026-11-01 12:09:30+00', '2026-11-01 12:09:30+00', '2026-11-01 12:11:30+00');
INSERT INTO public.attempt VALUES ('job-06905269ed6f4b09b165c8ce36e2f24b', 1, 1, 'DEFAULT', NULL, 'COMPLETED', 'aer-host-a-100-5000-2x2', 'COMPLETED', '', 11, 'host-a:100:1', NULL, '2026-11-01 12:11:35+00', '2026-11-01 12:11:35+00', '2026-11-01 12:13:35+00');
INSERT INTO public.attempt VALUES ('job-634f806fabf4407c966002249b191bf4', 1, 1, 'DEFAULT', NULL, 'ERROR', '00000006-0000-4000-8000-000000000001', 'ERROR', '', 5.5, 'host-a:100:1', NULL, '2026-11-01 12:20:01+00', '2026-11-01 12:20:01+00', '2026-11-01 12:22:01+00');
INSERT INTO public.attempt VALUES ('job-42a00403ce8044b0a4042bb3d4341aad', 1, 1, 'DEFAULT', NULL, 'UNKNOWN', NULL, NULL, 'the connection was closed before the answer came', NULL, 'host-a:100:1', NULL, '2026-11-01 12:13:40+00', NULL, NULL);
INSERT INTO public.attempt VALUES ('job-2a31878531844f27859142deccea2645', 1, 1, 'DEFAULT', NULL, 'UNKNOWN', NULL, NULL, 'the connection was closed before the answer came', NULL, 'host-a:100:1', NULL, '2026-11-01 12:13:45+00', NULL, NULL);
INSERT INTO public.attempt VALUES ('job-de08caa1a08149108a25e4664f5253a0', 1, 1, 'DEFAULT', NULL, 'QUEUED', 'job-1000', 'QUEUED', '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:13:50+00', '2026-11-01 12:14:55+00', NULL);
INSERT INTO public.attempt VALUES ('job-634f806fabf4407c966002249b191bf4', 2, 1, 'FORCE_RESUBMIT', '[1]', 'RETRYING', '00000007-0000-4000-8000-000000000001', 'RETRYING', 'calibrating', NULL, 'host-a:100:1', NULL, '2026-11-01 12:22:01+00', '2026-11-01 12:22:01+00', NULL);
INSERT INTO public.attempt VALUES ('job-3f5082492d834823bfb62d2c81862fc9', 1, 1, 'DEFAULT', NULL, 'ERROR', '00000008-0000-4000-8000-000000000001', 'ERROR', '', 5.5, 'host-a:100:1', NULL, '2026-11-01 12:23:06+00', '2026-11-01 12:23:06+00', '2026-11-01 12:25:06+00');
INSERT INTO public.attempt VALUES ('job-f1cfd99216df448687adec26793d0e45', 1, 1, 'DEFAULT', NULL, 'COMPLETED', '00000010-0000-4000-8000-000000000001', 'COMPLETED', '', 11, 'host-a:100:1', NULL, '2026-11-01 12:25:11+00', '2026-11-01 12:25:11+00', '2026-11-01 12:27:11+00');
INSERT INTO public.attempt VALUES ('job-b474c7e8928641758abcb06ae8abb93f', 1, 1, 'DEFAULT', NULL, 'CANCELLING', '00000012-0000-4000-8000-000000000001', 'CANCELLING', '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:29:16+00', '2026-11-01 12:29:16+00', NULL);
INSERT INTO public.attempt VALUES ('job-f1cfd99216df448687adec26793d0e45', 2, 2, 'FULL_RESTART', NULL, 'COMPLETED', '00000011-0000-4000-8000-000000000001', 'COMPLETED', '', 11, 'host-a:100:1', NULL, '2026-11-01 12:27:11+00', '2026-11-01 12:27:11+00', '2026-11-01 12:29:11+00');
INSERT INTO public.attempt VALUES ('job-c3e4a892d9194ada8fcfa583e1df8af9', 1, 1, 'DEFAULT', NULL, 'CANCELLED', '00000013-0000-4000-8000-000000000001', 'CANCELLED', 'cancelled by the user', NULL, 'host-a:100:1', NULL, '2026-11-01 12:29:21+00', '2026-11-01 12:29:21+00', '2026-11-01 12:30:21+00');
INSERT INTO public.attempt VALUES ('job-2522d53857c44391b36cc9aa78a330a1', 1, 1, 'DEFAULT', NULL, 'CANCELLED', NULL, NULL, 'nexus answered 401; log in again: qnx login', NULL, 'host-a:100:1', NULL, NULL, NULL, '2026-11-01 12:33:46+00');
INSERT INTO public.attempt VALUES ('job-4278c2614e1b4b38bbb4a570294c4ea3', 1, 1, 'DEFAULT', NULL, 'ERROR', NULL, NULL, '422: n_shots is above the group''s limit', NULL, 'host-a:100:1', NULL, '2026-11-01 12:30:26+00', NULL, '2026-11-01 12:30:26+00');
INSERT INTO public.attempt VALUES ('job-14c15c910b114d288c21ce88d0060cc5', 1, 1, 'DEFAULT', NULL, 'DEPLETED', '00000014-0000-4000-8000-000000000001', 'DEPLETED', 'no credits are left', NULL, 'host-a:100:1', NULL, '2026-11-01 12:30:31+00', '2026-11-01 12:30:31+00', '2026-11-01 12:31:31+00');
INSERT INTO public.attempt VALUES ('job-96b98b5fbf3742beaf98bca35b17b966', 1, 1, 'DEFAULT', NULL, 'QUEUED', '00000017-0000-4000-8000-000000000001', 'QUEUED', '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:46:01+00', '2026-11-01 12:46:01+00', NULL);
INSERT INTO public.attempt VALUES ('job-ff5a52f1a05845acb671863c0bdbc23a', 1, 1, 'DEFAULT', NULL, 'TERMINATED', 'aer-host-a-100-5000-3x2', 'TERMINATED', 'the process that simulated it has ended; run the job again', NULL, 'host-a:100:1', NULL, '2026-11-01 12:31:36+00', '2026-11-01 12:31:36+00', '2026-11-01 12:32:36+00');
INSERT INTO public.attempt VALUES ('job-a5e333cb88dc494384d4cd1f47ca7883', 1, 1, 'DEFAULT', NULL, 'COMPLETED', '00000015-0000-4000-8000-000000000001', 'COMPLETED', '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:32:41+00', '2026-11-01 12:32:41+00', '2026-11-01 12:33:41+00');
INSERT INTO public.attempt VALUES ('job-11021c9e32114ac1ac7cc4a4ff4dab10', 1, 1, 'DEFAULT', NULL, 'QUEUED', '00000001-0000-4000-8000-000000000002', 'QUEUED', '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:33:51+00', '2026-11-01 12:33:51+00', NULL);
INSERT INTO public.attempt VALUES ('job-32decd6b8efb4170a26a25c852175b7a', 1, 1, 'DEFAULT', NULL, 'RUNNING', 'job-1', 'RUNNING', '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:46:06+00', '2026-11-01 12:46:06+00', NULL);
INSERT INTO public.attempt VALUES ('job-a2909cb633e248b4a9dd38b869ace913', 1, 1, 'DEFAULT', NULL, 'SUBMITTED', '00000016-0000-4000-8000-000000000001', NULL, '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:34:56+00', '2026-11-01 12:34:56+00', NULL);
INSERT INTO public.attempt VALUES ('job-3f5082492d834823bfb62d2c81862fc9', 2, 2, 'FULL_RESTART', NULL, 'SUBMITTED', '00000009-0000-4000-8000-000000000001', 'SUBMITTED', '', NULL, 'host-a:100:1', NULL, '2026-11-01 12:25:06+00', '2026-11-01 12:25:06+00', NULL);
INSERT INTO public.attempt VALUES ('job-d6e4a51519d949cc92d32377e78131c1', 1, 1, 'DEFAULT', NULL, 'SUBMITTING', NULL, NULL, '', NULL, 'host-a:100:1', '2026-11-01 12:54:36+00', '2026-11-01 12:49:36+00', NULL, NULL);


--
-- Data for Name: event; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.event VALUES (1, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', NULL, '2026-11-01 12:00:00+00', NULL, 'CREATED', 'plan', 'rabi 1/3');
INSERT INTO public.event VALUES (2, 'job-1710cf5327ac435aba97c643656412a9', NULL, '2026-11-01 12:00:00+00', NULL, 'CREATED', 'plan', 'rabi 2/3');
INSERT INTO public.event VALUES (3, 'job-8ca5996666ce4b368512bd1311072231', NULL, '2026-11-01 12:00:00+00', NULL, 'CREATED', 'plan', 'rabi 3/3');
INSERT INTO public.event VALUES (4, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', NULL, '2026-11-01 12:00:05+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (5, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', NULL, '2026-11-01 12:00:05+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000001-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (6, 'job-1710cf5327ac435aba97c643656412a9', NULL, '2026-11-01 12:00:10+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (7, 'job-1710cf5327ac435aba97c643656412a9', NULL, '2026-11-01 12:00:10+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000002-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (8, 'job-8ca5996666ce4b368512bd1311072231', NULL, '2026-11-01 12:00:15+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (9, 'job-8ca5996666ce4b368512bd1311072231', NULL, '2026-11-01 12:00:15+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000003-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (10, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 0, '2026-11-01 12:01:15+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (11, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 1, '2026-11-01 12:01:15+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (12, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 2, '2026-11-01 12:01:15+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (13, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', NULL, '2026-11-01 12:01:15+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (14, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 0, '2026-11-01 12:02:15+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (15, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 1, '2026-11-01 12:02:15+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (16, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 2, '2026-11-01 12:02:15+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (17, 'job-b8a1abcd1a6946c78da4f9fc3c6da5d7', NULL, '2026-11-01 12:02:15+00', 'RUNNING', 'COMPLETED', 'poll', 'COMPLETED');
INSERT INTO public.event VALUES (18, 'job-8ca5996666ce4b368512bd1311072231', 0, '2026-11-01 12:03:15+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (19, 'job-8ca5996666ce4b368512bd1311072231', 1, '2026-11-01 12:03:15+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (20, 'job-8ca5996666ce4b368512bd1311072231', NULL, '2026-11-01 12:03:15+00', 'SUBMITTED', 'QUEUED', 'poll', 'QUEUED');
INSERT INTO public.event VALUES (21, 'job-1710cf5327ac435aba97c643656412a9', 0, '2026-11-01 12:04:15+00', 'SUBMITTED', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (22, 'job-1710cf5327ac435aba97c643656412a9', 1, '2026-11-01 12:04:15+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (23, 'job-1710cf5327ac435aba97c643656412a9', 2, '2026-11-01 12:04:15+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (24, 'job-1710cf5327ac435aba97c643656412a9', NULL, '2026-11-01 12:04:15+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (25, 'job-1710cf5327ac435aba97c643656412a9', 0, '2026-11-01 12:05:15+00', 'COMPLETED', 'COMPLETED', 'contradiction', 'item 0 is COMPLETED; a later report of RUNNING changes nothing');
INSERT INTO public.event VALUES (26, 'job-fd724452ccea41ff8a14876aeaff1a09', NULL, '2026-11-01 12:05:15+00', NULL, 'CREATED', 'plan', 'rabi');
INSERT INTO public.event VALUES (27, 'job-8534f45738d048ec8f1099c6c3e1b258', NULL, '2026-11-01 12:05:15+00', NULL, 'CREATED', 'plan', 'energy');
INSERT INTO public.event VALUES (28, 'job-8534f45738d048ec8f1099c6c3e1b258', NULL, '2026-11-01 12:05:20+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (29, 'job-8534f45738d048ec8f1099c6c3e1b258', NULL, '2026-11-01 12:05:20+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is aer-host-a-100-5000-1x3');
INSERT INTO public.event VALUES (30, 'job-8534f45738d048ec8f1099c6c3e1b258', 0, '2026-11-01 12:06:20+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (31, 'job-8534f45738d048ec8f1099c6c3e1b258', 1, '2026-11-01 12:06:20+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (32, 'job-8534f45738d048ec8f1099c6c3e1b258', 2, '2026-11-01 12:06:20+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (33, 'job-8534f45738d048ec8f1099c6c3e1b258', NULL, '2026-11-01 12:06:20+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (34, 'job-8534f45738d048ec8f1099c6c3e1b258', 0, '2026-11-01 12:07:20+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (35, 'job-8534f45738d048ec8f1099c6c3e1b258', 1, '2026-11-01 12:07:20+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (36, 'job-8534f45738d048ec8f1099c6c3e1b258', 2, '2026-11-01 12:07:20+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (37, 'job-8534f45738d048ec8f1099c6c3e1b258', NULL, '2026-11-01 12:07:20+00', 'RUNNING', 'COMPLETED', 'poll', 'COMPLETED');
INSERT INTO public.event VALUES (38, 'job-c79d679346d44c7a9c3902b38963dc6e', NULL, '2026-11-01 12:07:20+00', NULL, 'CREATED', 'plan', 'compile pairs');
INSERT INTO public.event VALUES (39, 'job-c79d679346d44c7a9c3902b38963dc6e', NULL, '2026-11-01 12:07:25+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (40, 'job-c79d679346d44c7a9c3902b38963dc6e', NULL, '2026-11-01 12:07:25+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000004-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (41, 'job-c79d679346d44c7a9c3902b38963dc6e', 0, '2026-11-01 12:08:25+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (42, 'job-c79d679346d44c7a9c3902b38963dc6e', NULL, '2026-11-01 12:08:25+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (43, 'job-c79d679346d44c7a9c3902b38963dc6e', 0, '2026-11-01 12:09:25+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (44, 'job-c79d679346d44c7a9c3902b38963dc6e', NULL, '2026-11-01 12:09:25+00', 'RUNNING', 'COMPLETED', 'poll', 'COMPLETED');
INSERT INTO public.event VALUES (45, 'job-43000de01b2e440e93addccb2c33be0a', NULL, '2026-11-01 12:09:25+00', NULL, 'CREATED', 'plan', 'pairs');
INSERT INTO public.event VALUES (46, 'job-43000de01b2e440e93addccb2c33be0a', NULL, '2026-11-01 12:09:30+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (47, 'job-43000de01b2e440e93addccb2c33be0a', NULL, '2026-11-01 12:09:30+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000005-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (48, 'job-43000de01b2e440e93addccb2c33be0a', 0, '2026-11-01 12:10:30+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (49, 'job-43000de01b2e440e93addccb2c33be0a', 1, '2026-11-01 12:10:30+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (50, 'job-43000de01b2e440e93addccb2c33be0a', 2, '2026-11-01 12:10:30+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (51, 'job-43000de01b2e440e93addccb2c33be0a', NULL, '2026-11-01 12:10:30+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (52, 'job-43000de01b2e440e93addccb2c33be0a', 0, '2026-11-01 12:11:30+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (53, 'job-43000de01b2e440e93addccb2c33be0a', 1, '2026-11-01 12:11:30+00', 'RUNNING', 'ERROR', 'poll', 'the qubit was lost; Qubit verloren, 量子ビット ±1');
INSERT INTO public.event VALUES (54, 'job-43000de01b2e440e93addccb2c33be0a', 2, '2026-11-01 12:11:30+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (55, 'job-43000de01b2e440e93addccb2c33be0a', NULL, '2026-11-01 12:11:30+00', 'RUNNING', 'ERROR', 'poll', 'ERROR');
INSERT INTO public.event VALUES (56, 'job-06905269ed6f4b09b165c8ce36e2f24b', NULL, '2026-11-01 12:11:30+00', NULL, 'CREATED', 'plan', 'simulated');
INSERT INTO public.event VALUES (57, 'job-06905269ed6f4b09b165c8ce36e2f24b', NULL, '2026-11-01 12:11:35+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (58, 'job-06905269ed6f4b09b165c8ce36e2f24b', NULL, '2026-11-01 12:11:35+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is aer-host-a-100-5000-2x2');
INSERT INTO public.event VALUES (59, 'job-06905269ed6f4b09b165c8ce36e2f24b', 0, '2026-11-01 12:12:35+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (60, 'job-06905269ed6f4b09b165c8ce36e2f24b', 1, '2026-11-01 12:12:35+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (61, 'job-06905269ed6f4b09b165c8ce36e2f24b', NULL, '2026-11-01 12:12:35+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (62, 'job-06905269ed6f4b09b165c8ce36e2f24b', 0, '2026-11-01 12:13:35+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (63, 'job-06905269ed6f4b09b165c8ce36e2f24b', 1, '2026-11-01 12:13:35+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (64, 'job-06905269ed6f4b09b165c8ce36e2f24b', NULL, '2026-11-01 12:13:35+00', 'RUNNING', 'COMPLETED', 'poll', 'COMPLETED');
INSERT INTO public.event VALUES (65, 'job-42a00403ce8044b0a4042bb3d4341aad', NULL, '2026-11-01 12:13:35+00', NULL, 'CREATED', 'plan', 'lost and findable');
INSERT INTO public.event VALUES (66, 'job-2a31878531844f27859142deccea2645', NULL, '2026-11-01 12:13:35+00', NULL, 'CREATED', 'plan', 'lost and opaque');
INSERT INTO public.event VALUES (67, 'job-de08caa1a08149108a25e4664f5253a0', NULL, '2026-11-01 12:13:35+00', NULL, 'CREATED', 'plan', 'adopted');
INSERT INTO public.event VALUES (68, 'job-d93936e1daca4c06b5ff0c03bb5d7385', NULL, '2026-11-01 12:13:35+00', NULL, 'CREATED', 'plan', 'discarded');
INSERT INTO public.event VALUES (69, 'job-42a00403ce8044b0a4042bb3d4341aad', NULL, '2026-11-01 12:13:40+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (70, 'job-42a00403ce8044b0a4042bb3d4341aad', NULL, '2026-11-01 12:13:40+00', 'SUBMITTING', 'UNKNOWN', 'lost reply', 'the connection was closed before the answer came');
INSERT INTO public.event VALUES (71, 'job-2a31878531844f27859142deccea2645', NULL, '2026-11-01 12:13:45+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (72, 'job-2a31878531844f27859142deccea2645', NULL, '2026-11-01 12:13:45+00', 'SUBMITTING', 'UNKNOWN', 'lost reply', 'the connection was closed before the answer came');
INSERT INTO public.event VALUES (73, 'job-de08caa1a08149108a25e4664f5253a0', NULL, '2026-11-01 12:13:50+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (74, 'job-de08caa1a08149108a25e4664f5253a0', NULL, '2026-11-01 12:13:50+00', 'SUBMITTING', 'UNKNOWN', 'lost reply', 'the connection was closed before the answer came');
INSERT INTO public.event VALUES (75, 'job-d93936e1daca4c06b5ff0c03bb5d7385', NULL, '2026-11-01 12:13:55+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (76, 'job-d93936e1daca4c06b5ff0c03bb5d7385', NULL, '2026-11-01 12:13:55+00', 'SUBMITTING', 'UNKNOWN', 'lost reply', 'the connection was closed before the answer came');
INSERT INTO public.event VALUES (77, 'job-de08caa1a08149108a25e4664f5253a0', NULL, '2026-11-01 12:14:55+00', 'UNKNOWN', 'SUBMITTED', 'adopted by a person', 'attempt 1 is job-1000');
INSERT INTO public.event VALUES (78, 'job-de08caa1a08149108a25e4664f5253a0', 0, '2026-11-01 12:14:55+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (79, 'job-de08caa1a08149108a25e4664f5253a0', 1, '2026-11-01 12:14:55+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (80, 'job-de08caa1a08149108a25e4664f5253a0', NULL, '2026-11-01 12:14:55+00', 'SUBMITTED', 'QUEUED', 'poll', 'QUEUED');
INSERT INTO public.event VALUES (81, 'job-d93936e1daca4c06b5ff0c03bb5d7385', NULL, '2026-11-01 12:14:55+00', 'UNKNOWN', 'CREATED', 'discarded by a person', 'a person says that no remote job exists');
INSERT INTO public.event VALUES (82, 'job-d8441b5616334aca9f552773e14b0190', NULL, '2026-11-01 12:14:55+00', NULL, 'CREATED', 'plan', 'left by its process');
INSERT INTO public.event VALUES (83, 'job-d8441b5616334aca9f552773e14b0190', NULL, '2026-11-01 12:14:55+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (84, 'job-d8441b5616334aca9f552773e14b0190', NULL, '2026-11-01 12:19:56+00', 'SUBMITTING', 'UNKNOWN', 'lease expired', 'attempt 1: host-a:100:1 did not settle it within its lease');
INSERT INTO public.event VALUES (85, 'job-634f806fabf4407c966002249b191bf4', NULL, '2026-11-01 12:19:56+00', NULL, 'CREATED', 'plan', 'retried');
INSERT INTO public.event VALUES (86, 'job-634f806fabf4407c966002249b191bf4', NULL, '2026-11-01 12:20:01+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (87, 'job-634f806fabf4407c966002249b191bf4', NULL, '2026-11-01 12:20:01+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000006-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (88, 'job-634f806fabf4407c966002249b191bf4', 0, '2026-11-01 12:21:01+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (89, 'job-634f806fabf4407c966002249b191bf4', 1, '2026-11-01 12:21:01+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (90, 'job-634f806fabf4407c966002249b191bf4', NULL, '2026-11-01 12:21:01+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (91, 'job-634f806fabf4407c966002249b191bf4', 0, '2026-11-01 12:22:01+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (92, 'job-634f806fabf4407c966002249b191bf4', 1, '2026-11-01 12:22:01+00', 'RUNNING', 'ERROR', 'poll', 'the laser was out of lock');
INSERT INTO public.event VALUES (93, 'job-634f806fabf4407c966002249b191bf4', NULL, '2026-11-01 12:22:01+00', 'RUNNING', 'ERROR', 'poll', 'ERROR');
INSERT INTO public.event VALUES (94, 'job-634f806fabf4407c966002249b191bf4', NULL, '2026-11-01 12:22:01+00', 'ERROR', 'ERROR', 'retry', '1 items, FORCE_RESUBMIT');
INSERT INTO public.event VALUES (95, 'job-634f806fabf4407c966002249b191bf4', NULL, '2026-11-01 12:22:01+00', 'ERROR', 'SUBMITTING', 'submit', 'attempt 2, FORCE_RESUBMIT');
INSERT INTO public.event VALUES (96, 'job-634f806fabf4407c966002249b191bf4', NULL, '2026-11-01 12:22:01+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 2 is 00000007-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (97, 'job-634f806fabf4407c966002249b191bf4', 1, '2026-11-01 12:23:01+00', 'SUBMITTED', 'RETRYING', 'poll', '');
INSERT INTO public.event VALUES (98, 'job-634f806fabf4407c966002249b191bf4', NULL, '2026-11-01 12:23:01+00', 'SUBMITTED', 'RETRYING', 'poll', 'calibrating');
INSERT INTO public.event VALUES (99, 'job-3f5082492d834823bfb62d2c81862fc9', NULL, '2026-11-01 12:23:01+00', NULL, 'CREATED', 'plan', 'restarted');
INSERT INTO public.event VALUES (100, 'job-3f5082492d834823bfb62d2c81862fc9', NULL, '2026-11-01 12:23:06+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (101, 'job-3f5082492d834823bfb62d2c81862fc9', NULL, '2026-11-01 12:23:06+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000008-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (102, 'job-3f5082492d834823bfb62d2c81862fc9', 0, '2026-11-01 12:24:06+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (103, 'job-3f5082492d834823bfb62d2c81862fc9', 1, '2026-11-01 12:24:06+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (104, 'job-3f5082492d834823bfb62d2c81862fc9', NULL, '2026-11-01 12:24:06+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (105, 'job-3f5082492d834823bfb62d2c81862fc9', 0, '2026-11-01 12:25:06+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (106, 'job-3f5082492d834823bfb62d2c81862fc9', 1, '2026-11-01 12:25:06+00', 'RUNNING', 'ERROR', 'poll', 'the laser was out of lock');
INSERT INTO public.event VALUES (107, 'job-3f5082492d834823bfb62d2c81862fc9', NULL, '2026-11-01 12:25:06+00', 'RUNNING', 'ERROR', 'poll', 'ERROR');
INSERT INTO public.event VALUES (108, 'job-3f5082492d834823bfb62d2c81862fc9', NULL, '2026-11-01 12:25:06+00', 'ERROR', 'SUBMITTING', 'submit', 'attempt 2, FULL_RESTART');
INSERT INTO public.event VALUES (109, 'job-3f5082492d834823bfb62d2c81862fc9', NULL, '2026-11-01 12:25:06+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 2 is 00000009-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (110, 'job-f1cfd99216df448687adec26793d0e45', NULL, '2026-11-01 12:25:06+00', NULL, 'CREATED', 'plan', 'restarted and done');
INSERT INTO public.event VALUES (111, 'job-f1cfd99216df448687adec26793d0e45', NULL, '2026-11-01 12:25:11+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (112, 'job-f1cfd99216df448687adec26793d0e45', NULL, '2026-11-01 12:25:11+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000010-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (113, 'job-f1cfd99216df448687adec26793d0e45', 0, '2026-11-01 12:26:11+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (114, 'job-f1cfd99216df448687adec26793d0e45', 1, '2026-11-01 12:26:11+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (115, 'job-f1cfd99216df448687adec26793d0e45', NULL, '2026-11-01 12:26:11+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (116, 'job-f1cfd99216df448687adec26793d0e45', 0, '2026-11-01 12:27:11+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (117, 'job-f1cfd99216df448687adec26793d0e45', 1, '2026-11-01 12:27:11+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (118, 'job-f1cfd99216df448687adec26793d0e45', NULL, '2026-11-01 12:27:11+00', 'RUNNING', 'COMPLETED', 'poll', 'COMPLETED');
INSERT INTO public.event VALUES (119, 'job-f1cfd99216df448687adec26793d0e45', NULL, '2026-11-01 12:27:11+00', 'COMPLETED', 'SUBMITTING', 'submit', 'attempt 2, FULL_RESTART');
INSERT INTO public.event VALUES (120, 'job-f1cfd99216df448687adec26793d0e45', NULL, '2026-11-01 12:27:11+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 2 is 00000011-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (121, 'job-f1cfd99216df448687adec26793d0e45', 0, '2026-11-01 12:28:11+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (122, 'job-f1cfd99216df448687adec26793d0e45', 1, '2026-11-01 12:28:11+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (123, 'job-f1cfd99216df448687adec26793d0e45', NULL, '2026-11-01 12:28:11+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (124, 'job-f1cfd99216df448687adec26793d0e45', 0, '2026-11-01 12:29:11+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (125, 'job-f1cfd99216df448687adec26793d0e45', 1, '2026-11-01 12:29:11+00', 'RUNNING', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (126, 'job-f1cfd99216df448687adec26793d0e45', NULL, '2026-11-01 12:29:11+00', 'RUNNING', 'COMPLETED', 'poll', 'COMPLETED');
INSERT INTO public.event VALUES (127, 'job-01d89a024cdc47a697288ff68c320f89', NULL, '2026-11-01 12:29:11+00', NULL, 'CREATED', 'plan', 'run again');
INSERT INTO public.event VALUES (128, 'job-b474c7e8928641758abcb06ae8abb93f', NULL, '2026-11-01 12:29:11+00', NULL, 'CREATED', 'plan', 'cancelling');
INSERT INTO public.event VALUES (129, 'job-c3e4a892d9194ada8fcfa583e1df8af9', NULL, '2026-11-01 12:29:11+00', NULL, 'CREATED', 'plan', 'cancelled');
INSERT INTO public.event VALUES (130, 'job-b474c7e8928641758abcb06ae8abb93f', NULL, '2026-11-01 12:29:16+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (131, 'job-b474c7e8928641758abcb06ae8abb93f', NULL, '2026-11-01 12:29:16+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000012-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (132, 'job-c3e4a892d9194ada8fcfa583e1df8af9', NULL, '2026-11-01 12:29:21+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (133, 'job-c3e4a892d9194ada8fcfa583e1df8af9', NULL, '2026-11-01 12:29:21+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000013-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (134, 'job-b474c7e8928641758abcb06ae8abb93f', NULL, '2026-11-01 12:29:21+00', 'SUBMITTED', 'SUBMITTED', 'cancel', 'cancellation was asked for');
INSERT INTO public.event VALUES (135, 'job-b474c7e8928641758abcb06ae8abb93f', 0, '2026-11-01 12:29:21+00', 'SUBMITTED', 'CANCELLING', 'poll', '');
INSERT INTO public.event VALUES (136, 'job-b474c7e8928641758abcb06ae8abb93f', 1, '2026-11-01 12:29:21+00', 'SUBMITTED', 'CANCELLING', 'poll', '');
INSERT INTO public.event VALUES (137, 'job-b474c7e8928641758abcb06ae8abb93f', NULL, '2026-11-01 12:29:21+00', 'SUBMITTED', 'CANCELLING', 'poll', 'CANCELLING');
INSERT INTO public.event VALUES (138, 'job-c3e4a892d9194ada8fcfa583e1df8af9', NULL, '2026-11-01 12:29:21+00', 'SUBMITTED', 'SUBMITTED', 'cancel', 'cancellation was asked for');
INSERT INTO public.event VALUES (139, 'job-c3e4a892d9194ada8fcfa583e1df8af9', 0, '2026-11-01 12:29:21+00', 'SUBMITTED', 'CANCELLING', 'poll', '');
INSERT INTO public.event VALUES (140, 'job-c3e4a892d9194ada8fcfa583e1df8af9', 1, '2026-11-01 12:29:21+00', 'SUBMITTED', 'CANCELLING', 'poll', '');
INSERT INTO public.event VALUES (141, 'job-c3e4a892d9194ada8fcfa583e1df8af9', NULL, '2026-11-01 12:29:21+00', 'SUBMITTED', 'CANCELLING', 'poll', 'CANCELLING');
INSERT INTO public.event VALUES (142, 'job-c3e4a892d9194ada8fcfa583e1df8af9', 0, '2026-11-01 12:30:21+00', 'CANCELLING', 'CANCELLED', 'poll', '');
INSERT INTO public.event VALUES (143, 'job-c3e4a892d9194ada8fcfa583e1df8af9', 1, '2026-11-01 12:30:21+00', 'CANCELLING', 'CANCELLED', 'poll', '');
INSERT INTO public.event VALUES (144, 'job-c3e4a892d9194ada8fcfa583e1df8af9', NULL, '2026-11-01 12:30:21+00', 'CANCELLING', 'CANCELLED', 'poll', 'cancelled by the user');
INSERT INTO public.event VALUES (145, 'job-6c79a3de69f84e31b1f3b9238224b122', NULL, '2026-11-01 12:30:21+00', NULL, 'CREATED', 'plan', 'cancelled unsent');
INSERT INTO public.event VALUES (146, 'job-6c79a3de69f84e31b1f3b9238224b122', NULL, '2026-11-01 12:30:21+00', 'CREATED', 'CANCELLED', 'cancel', 'never sent');
INSERT INTO public.event VALUES (147, 'job-738d243a6e5845ca89c7b59b995253fd', NULL, '2026-11-01 12:30:21+00', NULL, 'CREATED', 'plan', 'cancelled in part');
INSERT INTO public.event VALUES (148, 'job-738d243a6e5845ca89c7b59b995253fd', 1, '2026-11-01 12:30:21+00', 'CREATED', 'CREATED', 'cancel', 'cancellation was asked for');
INSERT INTO public.event VALUES (149, 'job-738d243a6e5845ca89c7b59b995253fd', 1, '2026-11-01 12:30:21+00', 'CREATED', 'CANCELLED', 'cancel', 'never sent');
INSERT INTO public.event VALUES (150, 'job-4278c2614e1b4b38bbb4a570294c4ea3', NULL, '2026-11-01 12:30:21+00', NULL, 'CREATED', 'plan', 'refused');
INSERT INTO public.event VALUES (151, 'job-4278c2614e1b4b38bbb4a570294c4ea3', NULL, '2026-11-01 12:30:26+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (152, 'job-4278c2614e1b4b38bbb4a570294c4ea3', NULL, '2026-11-01 12:30:26+00', 'SUBMITTING', 'ERROR', 'rejected', '422: n_shots is above the group''s limit');
INSERT INTO public.event VALUES (153, 'job-14c15c910b114d288c21ce88d0060cc5', NULL, '2026-11-01 12:30:26+00', NULL, 'CREATED', 'plan', 'depleted');
INSERT INTO public.event VALUES (154, 'job-14c15c910b114d288c21ce88d0060cc5', NULL, '2026-11-01 12:30:31+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (155, 'job-14c15c910b114d288c21ce88d0060cc5', NULL, '2026-11-01 12:30:31+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000014-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (156, 'job-14c15c910b114d288c21ce88d0060cc5', 0, '2026-11-01 12:31:31+00', 'SUBMITTED', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (157, 'job-14c15c910b114d288c21ce88d0060cc5', 1, '2026-11-01 12:31:31+00', 'SUBMITTED', 'DEPLETED', 'poll', '');
INSERT INTO public.event VALUES (158, 'job-14c15c910b114d288c21ce88d0060cc5', NULL, '2026-11-01 12:31:31+00', 'SUBMITTED', 'DEPLETED', 'poll', 'no credits are left');
INSERT INTO public.event VALUES (159, 'job-ff5a52f1a05845acb671863c0bdbc23a', NULL, '2026-11-01 12:31:31+00', NULL, 'CREATED', 'plan', 'terminated');
INSERT INTO public.event VALUES (160, 'job-ff5a52f1a05845acb671863c0bdbc23a', NULL, '2026-11-01 12:31:36+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (161, 'job-ff5a52f1a05845acb671863c0bdbc23a', NULL, '2026-11-01 12:31:36+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is aer-host-a-100-5000-3x2');
INSERT INTO public.event VALUES (162, 'job-ff5a52f1a05845acb671863c0bdbc23a', 0, '2026-11-01 12:32:36+00', 'SUBMITTED', 'TERMINATED', 'poll', '');
INSERT INTO public.event VALUES (163, 'job-ff5a52f1a05845acb671863c0bdbc23a', 1, '2026-11-01 12:32:36+00', 'SUBMITTED', 'TERMINATED', 'poll', '');
INSERT INTO public.event VALUES (164, 'job-ff5a52f1a05845acb671863c0bdbc23a', NULL, '2026-11-01 12:32:36+00', 'SUBMITTED', 'TERMINATED', 'poll', 'the process that simulated it has ended; run the job again');
INSERT INTO public.event VALUES (165, 'job-a5e333cb88dc494384d4cd1f47ca7883', NULL, '2026-11-01 12:32:36+00', NULL, 'CREATED', 'plan', 'results are late');
INSERT INTO public.event VALUES (166, 'job-a5e333cb88dc494384d4cd1f47ca7883', NULL, '2026-11-01 12:32:41+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (167, 'job-a5e333cb88dc494384d4cd1f47ca7883', NULL, '2026-11-01 12:32:41+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000015-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (168, 'job-a5e333cb88dc494384d4cd1f47ca7883', 0, '2026-11-01 12:33:41+00', 'SUBMITTED', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (169, 'job-a5e333cb88dc494384d4cd1f47ca7883', 1, '2026-11-01 12:33:41+00', 'SUBMITTED', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (170, 'job-a5e333cb88dc494384d4cd1f47ca7883', NULL, '2026-11-01 12:33:41+00', 'SUBMITTED', 'COMPLETED', 'poll', 'COMPLETED');
INSERT INTO public.event VALUES (171, 'job-2522d53857c44391b36cc9aa78a330a1', NULL, '2026-11-01 12:33:41+00', NULL, 'CREATED', 'plan', 'locked out');
INSERT INTO public.event VALUES (172, 'job-2522d53857c44391b36cc9aa78a330a1', NULL, '2026-11-01 12:33:46+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (173, 'job-2522d53857c44391b36cc9aa78a330a1', NULL, '2026-11-01 12:33:46+00', 'SUBMITTING', 'CREATED', 'credentials refused', 'nexus answered 401; log in again: qnx login');
INSERT INTO public.event VALUES (174, 'job-11021c9e32114ac1ac7cc4a4ff4dab10', NULL, '2026-11-01 12:33:46+00', NULL, 'CREATED', 'plan', 'parked');
INSERT INTO public.event VALUES (175, 'job-11021c9e32114ac1ac7cc4a4ff4dab10', NULL, '2026-11-01 12:33:51+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (176, 'job-11021c9e32114ac1ac7cc4a4ff4dab10', NULL, '2026-11-01 12:33:51+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000001-0000-4000-8000-000000000002');
INSERT INTO public.event VALUES (177, 'job-11021c9e32114ac1ac7cc4a4ff4dab10', 0, '2026-11-01 12:34:51+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (178, 'job-11021c9e32114ac1ac7cc4a4ff4dab10', 1, '2026-11-01 12:34:51+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (179, 'job-11021c9e32114ac1ac7cc4a4ff4dab10', NULL, '2026-11-01 12:34:51+00', 'SUBMITTED', 'QUEUED', 'poll', 'QUEUED');
INSERT INTO public.event VALUES (180, 'job-a2909cb633e248b4a9dd38b869ace913', NULL, '2026-11-01 12:34:51+00', NULL, 'CREATED', 'plan', 'without a backend''s name');
INSERT INTO public.event VALUES (181, 'job-a2909cb633e248b4a9dd38b869ace913', NULL, '2026-11-01 12:34:56+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (182, 'job-a2909cb633e248b4a9dd38b869ace913', NULL, '2026-11-01 12:34:56+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000016-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (183, 'job-2f0733c846bb49e8b0ef55b1a1f65507', NULL, '2026-11-01 12:34:56+00', NULL, 'CREATED', 'plan', 'hamiltonian');
INSERT INTO public.event VALUES (184, 'job-11021c9e32114ac1ac7cc4a4ff4dab10', NULL, '2026-11-01 12:44:56+00', 'QUEUED', 'QUEUED', 'parked', 'CredentialsRejected: nexus answered 401; log in again: qnx login');
INSERT INTO public.event VALUES (185, 'job-a2909cb633e248b4a9dd38b869ace913', NULL, '2026-11-01 12:44:56+00', 'SUBMITTED', 'SUBMITTED', 'parked', 'InvalidInput: there is no backend ''nexus''; use aer or nexus/DEVICE');
INSERT INTO public.event VALUES (186, 'job-96b98b5fbf3742beaf98bca35b17b966', NULL, '2026-11-01 12:45:56+00', NULL, 'CREATED', 'plan', 'to be cancelled');
INSERT INTO public.event VALUES (187, 'job-32decd6b8efb4170a26a25c852175b7a', NULL, '2026-11-01 12:45:56+00', NULL, 'CREATED', 'plan', 'to be cancelled in part');
INSERT INTO public.event VALUES (188, 'job-96b98b5fbf3742beaf98bca35b17b966', NULL, '2026-11-01 12:46:01+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (189, 'job-96b98b5fbf3742beaf98bca35b17b966', NULL, '2026-11-01 12:46:01+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is 00000017-0000-4000-8000-000000000001');
INSERT INTO public.event VALUES (190, 'job-32decd6b8efb4170a26a25c852175b7a', NULL, '2026-11-01 12:46:06+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');
INSERT INTO public.event VALUES (191, 'job-32decd6b8efb4170a26a25c852175b7a', NULL, '2026-11-01 12:46:06+00', 'SUBMITTING', 'SUBMITTED', 'submit', 'attempt 1 is job-1');
INSERT INTO public.event VALUES (192, 'job-96b98b5fbf3742beaf98bca35b17b966', 0, '2026-11-01 12:47:06+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (193, 'job-96b98b5fbf3742beaf98bca35b17b966', 1, '2026-11-01 12:47:06+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (194, 'job-96b98b5fbf3742beaf98bca35b17b966', NULL, '2026-11-01 12:47:06+00', 'SUBMITTED', 'QUEUED', 'poll', 'QUEUED');
INSERT INTO public.event VALUES (195, 'job-32decd6b8efb4170a26a25c852175b7a', 0, '2026-11-01 12:48:06+00', 'SUBMITTED', 'COMPLETED', 'poll', '');
INSERT INTO public.event VALUES (196, 'job-32decd6b8efb4170a26a25c852175b7a', 1, '2026-11-01 12:48:06+00', 'SUBMITTED', 'RUNNING', 'poll', '');
INSERT INTO public.event VALUES (197, 'job-32decd6b8efb4170a26a25c852175b7a', 2, '2026-11-01 12:48:06+00', 'SUBMITTED', 'QUEUED', 'poll', '');
INSERT INTO public.event VALUES (198, 'job-32decd6b8efb4170a26a25c852175b7a', NULL, '2026-11-01 12:48:06+00', 'SUBMITTED', 'RUNNING', 'poll', 'RUNNING');
INSERT INTO public.event VALUES (199, 'job-96b98b5fbf3742beaf98bca35b17b966', NULL, '2026-11-01 12:48:06+00', 'QUEUED', 'QUEUED', 'cancel', 'cancellation was asked for');
INSERT INTO public.event VALUES (200, 'job-32decd6b8efb4170a26a25c852175b7a', 2, '2026-11-01 12:48:06+00', 'QUEUED', 'QUEUED', 'cancel', 'cancellation was asked for');
INSERT INTO public.event VALUES (201, 'job-8ca5996666ce4b368512bd1311072231', NULL, '2026-11-01 12:48:06+00', 'QUEUED', 'QUEUED', 'stalled', 'its device usually takes 600 s, and 90 % within 900 s');
INSERT INTO public.event VALUES (202, 'job-d6e4a51519d949cc92d32377e78131c1', NULL, '2026-11-01 12:49:36+00', NULL, 'CREATED', 'plan', 'submitting');
INSERT INTO public.event VALUES (203, 'job-d6e4a51519d949cc92d32377e78131c1', NULL, '2026-11-01 12:49:36+00', 'CREATED', 'SUBMITTING', 'submit', 'attempt 1, DEFAULT');


--
-- Data for Name: item; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.item VALUES ('job-1710cf5327ac435aba97c643656412a9', 2, '0f8d650daa6fb414/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.5]]', 100, 'QUEUED', 1, '', NULL, NULL, NULL, '2026-11-01 12:00:00+00', '2026-11-01 12:00:10+00', '2026-11-01 12:04:15+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-fd724452ccea41ff8a14876aeaff1a09', 0, '3989b5f516dddd58/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.8]]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:05:15+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-de08caa1a08149108a25e4664f5253a0', 0, 'adopted 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'QUEUED', 4, '', NULL, NULL, NULL, '2026-11-01 12:13:35+00', '2026-11-01 12:14:55+00', '2026-11-01 12:14:55+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-c79d679346d44c7a9c3902b38963dc6e', 0, 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 0, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:07:20+00', '2026-11-01 12:07:25+00', NULL, '2026-11-01 12:08:16+00', NULL, NULL, '2026-11-01 12:09:25+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-fd724452ccea41ff8a14876aeaff1a09', 1, '78875981d38e10e1/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.9]]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:05:15+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 0, 'd4970989fbf9fee8/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.0]]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:00:00+00', '2026-11-01 12:00:05+00', NULL, '2026-11-01 12:01:06+00', NULL, NULL, '2026-11-01 12:02:15+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 1, 'ded8f5d443444379/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.1]]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:00:00+00', '2026-11-01 12:00:05+00', NULL, '2026-11-01 12:01:06+00', NULL, NULL, '2026-11-01 12:02:15+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 2, '0c7257bb2f992df9/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.2]]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:00:00+00', '2026-11-01 12:00:05+00', NULL, '2026-11-01 12:01:06+00', NULL, NULL, '2026-11-01 12:02:15+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-8ca5996666ce4b368512bd1311072231', 0, 'f2305a07f245343a/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.6]]', 100, 'QUEUED', 12, '', NULL, NULL, NULL, '2026-11-01 12:00:00+00', '2026-11-01 12:00:15+00', '2026-11-01 12:03:15+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-8ca5996666ce4b368512bd1311072231', 1, '6752a80b795abd9b/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.7]]', 100, 'QUEUED', 12, '', NULL, NULL, NULL, '2026-11-01 12:00:00+00', '2026-11-01 12:00:15+00', '2026-11-01 12:03:15+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-1710cf5327ac435aba97c643656412a9', 0, '5ad1da47429d71cc/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.3]]', 100, 'COMPLETED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:00:00+00', '2026-11-01 12:00:10+00', NULL, NULL, NULL, NULL, '2026-11-01 12:04:15+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-1710cf5327ac435aba97c643656412a9', 1, '9c286afdfa81056e/0', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', '[["theta", 0.4]]', 100, 'RUNNING', NULL, '', NULL, NULL, NULL, '2026-11-01 12:00:00+00', '2026-11-01 12:00:10+00', NULL, '2026-11-01 12:04:15+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-06905269ed6f4b09b165c8ce36e2f24b', 0, 'simulated 0', '9fea04131f6af66890c0e5042a17cad1edfc43c4d2d1cebe57a2a6cb0638ec63', '93d11129e3bb38d826a172af68d900d23a5079d8af2d223d78ffd37478a52619', '[]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:11:30+00', '2026-11-01 12:11:35+00', NULL, '2026-11-01 12:12:26+00', NULL, NULL, '2026-11-01 12:13:35+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-43000de01b2e440e93addccb2c33be0a', 0, 'pairs 0', 'f1cb7fc9d2fe826fb13e6fae39b6fcbedf6db9e3b149d7563745d3ddec4ef8e4', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:09:25+00', '2026-11-01 12:09:30+00', NULL, '2026-11-01 12:10:21+00', NULL, NULL, '2026-11-01 12:11:30+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-43000de01b2e440e93addccb2c33be0a', 2, 'pairs 2', 'f1cb7fc9d2fe826fb13e6fae39b6fcbedf6db9e3b149d7563745d3ddec4ef8e4', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:09:25+00', '2026-11-01 12:09:30+00', NULL, '2026-11-01 12:10:21+00', NULL, NULL, '2026-11-01 12:11:30+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-8534f45738d048ec8f1099c6c3e1b258', 0, '58d16dbb2a79a14d/0', '57466a07067518e6ed56a6deefc4c20acefe22f6ead4f4f90e83ce9018e3bca3', '57466a07067518e6ed56a6deefc4c20acefe22f6ead4f4f90e83ce9018e3bca3', '[["theta", 0.25]]', 1000, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:05:15+00', '2026-11-01 12:05:20+00', NULL, '2026-11-01 12:06:11+00', NULL, NULL, '2026-11-01 12:07:20+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-8534f45738d048ec8f1099c6c3e1b258', 1, '7ba01a4e4bc27581/0', '57466a07067518e6ed56a6deefc4c20acefe22f6ead4f4f90e83ce9018e3bca3', '57466a07067518e6ed56a6deefc4c20acefe22f6ead4f4f90e83ce9018e3bca3', '[["theta", 0.5]]', 1000, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:05:15+00', '2026-11-01 12:05:20+00', NULL, '2026-11-01 12:06:11+00', NULL, NULL, '2026-11-01 12:07:20+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-8534f45738d048ec8f1099c6c3e1b258', 2, 'f43e8184b314c22e/0', '57466a07067518e6ed56a6deefc4c20acefe22f6ead4f4f90e83ce9018e3bca3', '57466a07067518e6ed56a6deefc4c20acefe22f6ead4f4f90e83ce9018e3bca3', '[["theta", 0.75]]', 1000, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:05:15+00', '2026-11-01 12:05:20+00', NULL, '2026-11-01 12:06:11+00', NULL, NULL, '2026-11-01 12:07:20+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-06905269ed6f4b09b165c8ce36e2f24b', 1, 'simulated 1', '9fea04131f6af66890c0e5042a17cad1edfc43c4d2d1cebe57a2a6cb0638ec63', '93d11129e3bb38d826a172af68d900d23a5079d8af2d223d78ffd37478a52619', '[]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:11:30+00', '2026-11-01 12:11:35+00', NULL, '2026-11-01 12:12:26+00', NULL, NULL, '2026-11-01 12:13:35+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-42a00403ce8044b0a4042bb3d4341aad', 0, 'lost and findable 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:13:35+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-42a00403ce8044b0a4042bb3d4341aad', 1, 'lost and findable 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:13:35+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-43000de01b2e440e93addccb2c33be0a', 1, 'pairs 1', 'f1cb7fc9d2fe826fb13e6fae39b6fcbedf6db9e3b149d7563745d3ddec4ef8e4', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'ERROR', NULL, 'the qubit was lost; Qubit verloren, 量子ビット ±1', 'line 1
line 2', NULL, NULL, '2026-11-01 12:09:25+00', '2026-11-01 12:09:30+00', NULL, '2026-11-01 12:10:30+00', NULL, NULL, NULL, NULL, '2026-11-01 12:11:30+00', NULL, NULL);
INSERT INTO public.item VALUES ('job-2a31878531844f27859142deccea2645', 0, 'lost and opaque 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:13:35+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-2a31878531844f27859142deccea2645', 1, 'lost and opaque 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:13:35+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-d93936e1daca4c06b5ff0c03bb5d7385', 0, 'discarded 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:13:35+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-d93936e1daca4c06b5ff0c03bb5d7385', 1, 'discarded 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:13:35+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-de08caa1a08149108a25e4664f5253a0', 1, 'adopted 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'QUEUED', 4, '', NULL, NULL, NULL, '2026-11-01 12:13:35+00', '2026-11-01 12:14:55+00', '2026-11-01 12:14:55+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-d8441b5616334aca9f552773e14b0190', 0, 'left by its process 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:14:55+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-d8441b5616334aca9f552773e14b0190', 1, 'left by its process 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:14:55+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-634f806fabf4407c966002249b191bf4', 0, 'retried 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:19:56+00', '2026-11-01 12:20:01+00', NULL, '2026-11-01 12:20:52+00', NULL, NULL, '2026-11-01 12:22:01+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-f1cfd99216df448687adec26793d0e45', 0, 'restarted and done 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:25:06+00', '2026-11-01 12:27:11+00', NULL, '2026-11-01 12:28:02+00', NULL, NULL, '2026-11-01 12:29:11+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-634f806fabf4407c966002249b191bf4', 1, 'retried 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'RETRYING', NULL, '', NULL, NULL, NULL, '2026-11-01 12:19:56+00', '2026-11-01 12:22:01+00', NULL, '2026-11-01 12:21:01+00', '2026-11-01 12:23:01+00', NULL, NULL, NULL, '2026-11-01 12:22:01+00', NULL, NULL);
INSERT INTO public.item VALUES ('job-3f5082492d834823bfb62d2c81862fc9', 0, 'restarted 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'SUBMITTED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:23:01+00', '2026-11-01 12:25:06+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-3f5082492d834823bfb62d2c81862fc9', 1, 'restarted 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'SUBMITTED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:23:01+00', '2026-11-01 12:25:06+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-738d243a6e5845ca89c7b59b995253fd', 1, 'cancelled in part 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CANCELLED', NULL, '', NULL, NULL, '2026-11-01 12:30:21+00', '2026-11-01 12:30:21+00', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-f1cfd99216df448687adec26793d0e45', 1, 'restarted and done 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'COMPLETED', NULL, '', NULL, 5.5, NULL, '2026-11-01 12:25:06+00', '2026-11-01 12:27:11+00', NULL, '2026-11-01 12:28:02+00', NULL, NULL, '2026-11-01 12:29:11+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-01d89a024cdc47a697288ff68c320f89', 0, 'restarted and done 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:29:11+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-01d89a024cdc47a697288ff68c320f89', 1, 'restarted and done 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:29:11+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-b474c7e8928641758abcb06ae8abb93f', 0, 'cancelling 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CANCELLING', NULL, '', NULL, NULL, NULL, '2026-11-01 12:29:11+00', '2026-11-01 12:29:16+00', NULL, NULL, NULL, '2026-11-01 12:29:21+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-b474c7e8928641758abcb06ae8abb93f', 1, 'cancelling 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CANCELLING', NULL, '', NULL, NULL, NULL, '2026-11-01 12:29:11+00', '2026-11-01 12:29:16+00', NULL, NULL, NULL, '2026-11-01 12:29:21+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-c3e4a892d9194ada8fcfa583e1df8af9', 0, 'cancelled 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CANCELLED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:29:11+00', '2026-11-01 12:29:21+00', NULL, NULL, NULL, '2026-11-01 12:29:21+00', NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-c3e4a892d9194ada8fcfa583e1df8af9', 1, 'cancelled 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CANCELLED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:29:11+00', '2026-11-01 12:29:21+00', NULL, NULL, NULL, '2026-11-01 12:29:21+00', NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-6c79a3de69f84e31b1f3b9238224b122', 0, 'cancelled unsent 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CANCELLED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-6c79a3de69f84e31b1f3b9238224b122', 1, 'cancelled unsent 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CANCELLED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-738d243a6e5845ca89c7b59b995253fd', 0, 'cancelled in part 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-738d243a6e5845ca89c7b59b995253fd', 2, 'cancelled in part 2', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-4278c2614e1b4b38bbb4a570294c4ea3', 0, 'refused 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'ERROR', NULL, '422: n_shots is above the group''s limit', NULL, NULL, NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-01 12:30:26+00', NULL, NULL);
INSERT INTO public.item VALUES ('job-4278c2614e1b4b38bbb4a570294c4ea3', 1, 'refused 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'ERROR', NULL, '422: n_shots is above the group''s limit', NULL, NULL, NULL, '2026-11-01 12:30:21+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-01 12:30:26+00', NULL, NULL);
INSERT INTO public.item VALUES ('job-11021c9e32114ac1ac7cc4a4ff4dab10', 0, 'parked 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'QUEUED', 240, '', NULL, NULL, NULL, '2026-11-01 12:33:46+00', '2026-11-01 12:33:51+00', '2026-11-01 12:34:51+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-11021c9e32114ac1ac7cc4a4ff4dab10', 1, 'parked 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'QUEUED', 240, '', NULL, NULL, NULL, '2026-11-01 12:33:46+00', '2026-11-01 12:33:51+00', '2026-11-01 12:34:51+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-14c15c910b114d288c21ce88d0060cc5', 0, 'depleted 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'COMPLETED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:30:26+00', '2026-11-01 12:30:31+00', NULL, NULL, NULL, NULL, '2026-11-01 12:31:31+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-14c15c910b114d288c21ce88d0060cc5', 1, 'depleted 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'DEPLETED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:30:26+00', '2026-11-01 12:30:31+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-01 12:31:31+00', NULL);
INSERT INTO public.item VALUES ('job-a2909cb633e248b4a9dd38b869ace913', 0, 'bell', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', NULL, '[]', 100, 'SUBMITTED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:34:51+00', '2026-11-01 12:34:56+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-ff5a52f1a05845acb671863c0bdbc23a', 0, 'terminated 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'TERMINATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:31:31+00', '2026-11-01 12:31:36+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-01 12:32:36+00');
INSERT INTO public.item VALUES ('job-ff5a52f1a05845acb671863c0bdbc23a', 1, 'terminated 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'TERMINATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:31:31+00', '2026-11-01 12:31:36+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-01 12:32:36+00');
INSERT INTO public.item VALUES ('job-2f0733c846bb49e8b0ef55b1a1f65507', 0, 'bell', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', NULL, '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:34:56+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-a5e333cb88dc494384d4cd1f47ca7883', 0, 'results are late 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'COMPLETED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:32:36+00', '2026-11-01 12:32:41+00', NULL, NULL, NULL, NULL, '2026-11-01 12:33:41+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-a5e333cb88dc494384d4cd1f47ca7883', 1, 'results are late 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'COMPLETED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:32:36+00', '2026-11-01 12:32:41+00', NULL, NULL, NULL, NULL, '2026-11-01 12:33:41+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-2522d53857c44391b36cc9aa78a330a1', 0, 'locked out 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:33:41+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-2522d53857c44391b36cc9aa78a330a1', 1, 'locked out 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:33:41+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-96b98b5fbf3742beaf98bca35b17b966', 1, 'to be cancelled 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'QUEUED', 30, '', NULL, NULL, NULL, '2026-11-01 12:45:56+00', '2026-11-01 12:46:01+00', '2026-11-01 12:47:06+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-32decd6b8efb4170a26a25c852175b7a', 0, 'to be cancelled in part 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'COMPLETED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:45:56+00', '2026-11-01 12:46:06+00', NULL, NULL, NULL, NULL, '2026-11-01 12:48:06+00', NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-96b98b5fbf3742beaf98bca35b17b966', 0, 'to be cancelled 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'QUEUED', 30, '', NULL, NULL, NULL, '2026-11-01 12:45:56+00', '2026-11-01 12:46:01+00', '2026-11-01 12:47:06+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-32decd6b8efb4170a26a25c852175b7a', 1, 'to be cancelled in part 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'RUNNING', NULL, '', NULL, NULL, NULL, '2026-11-01 12:45:56+00', '2026-11-01 12:46:06+00', NULL, '2026-11-01 12:48:06+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-32decd6b8efb4170a26a25c852175b7a', 2, 'to be cancelled in part 2', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'QUEUED', NULL, '', NULL, NULL, '2026-11-01 12:48:06+00', '2026-11-01 12:45:56+00', '2026-11-01 12:46:06+00', '2026-11-01 12:48:06+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-d6e4a51519d949cc92d32377e78131c1', 0, 'submitting 0', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:49:36+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.item VALUES ('job-d6e4a51519d949cc92d32377e78131c1', 1, 'submitting 1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', '[]', 100, 'CREATED', NULL, '', NULL, NULL, NULL, '2026-11-01 12:49:36+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: job; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.job VALUES ('job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 'f69ab3df57cc24fd961aacfd943916975e4a6cb5', 'execute', 'nexus', 'H2-1LE', 'rabi 1/3', 'rabi', '00000000-0000-4000-8000-00000000000a', '', '', '{"seed": 48404813137702722, "observables": [], "level": null}', 'COMPLETED', '', 1, 3, NULL, NULL, NULL, NULL, NULL, 16.5, '{"definition": "848ea22ce7e9532a", "backend_name": "nexus/H2-1LE"}', '2026-11-01 12:00:00+00', '2026-11-01 12:02:15+00');
INSERT INTO public.job VALUES ('job-fd724452ccea41ff8a14876aeaff1a09', '10b0e4cff4f9f8e24fae0dc30b115442fbb4a592', 'execute', 'nexus', 'H2-1LE', 'rabi', 'rabi', '00000000-0000-4000-8000-00000000000b', '', '', '{"seed": 59382859924971567, "observables": [], "level": null}', 'CREATED', '', 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, '{"definition": "848ea22ce7e9532a", "backend_name": "nexus/H2-1LE"}', '2026-11-01 12:05:15+00', NULL);
INSERT INTO public.job VALUES ('job-8534f45738d048ec8f1099c6c3e1b258', '06eb3012d57842ede183bf78390af3e62cea18d1', 'execute', 'aer', 'aer_simulator', 'energy', 'energy', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": null, "observables": [["zz", [["ZZ", 1.0]]], ["mixed", [["XX", 0.5], ["IZ", -1.5]]]], "level": null}', 'COMPLETED', '', 1, 3, NULL, NULL, NULL, NULL, NULL, 16.5, '{"definition": "a4f230ca7e2e9451", "backend_name": "aer"}', '2026-11-01 12:05:15+00', '2026-11-01 12:07:20+00');
INSERT INTO public.job VALUES ('job-c79d679346d44c7a9c3902b38963dc6e', 'd2c44d1fb02dab85a5cc8b8dcedf4426276afedd', 'compile', 'nexus', 'H2-1LE', 'compile pairs', 'pairs', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": null, "observables": [], "level": 2}', 'COMPLETED', '', 1, 1, NULL, NULL, NULL, NULL, NULL, 5.5, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:07:20+00', '2026-11-01 12:09:25+00');
INSERT INTO public.job VALUES ('job-43000de01b2e440e93addccb2c33be0a', '116e06eeee8ebddd22acfeb2efcec9e56c9fc032', 'execute', 'nexus', 'H2-1LE', 'pairs', 'pairs', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 60794100857703109, "observables": [], "level": null}', 'ERROR', '', 1, 3, NULL, NULL, NULL, NULL, NULL, 11, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:09:25+00', '2026-11-01 12:11:30+00');
INSERT INTO public.job VALUES ('job-06905269ed6f4b09b165c8ce36e2f24b', '84b0c8384d37b0816018874b11c9f3506af1ef49', 'execute', 'aer', 'aer_simulator', 'simulated', 'simulated', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 30968068900231068, "observables": [], "level": null}', 'COMPLETED', '', 1, 2, NULL, NULL, NULL, NULL, NULL, 11, '{"backend_name": "aer"}', '2026-11-01 12:11:30+00', '2026-11-01 12:13:35+00');
INSERT INTO public.job VALUES ('job-d93936e1daca4c06b5ff0c03bb5d7385', '562f4e12e22d3836966973e5113544573c0369c4', 'execute', 'rest', 'reference', 'discarded', 'discarded', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 26375400155703196, "observables": [], "level": null}', 'CREATED', 'a person says that no remote job exists', 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, '{"backend_name": "rest-backend/reference"}', '2026-11-01 12:13:35+00', NULL);
INSERT INTO public.job VALUES ('job-f1cfd99216df448687adec26793d0e45', 'd0b3d973d7c751230a16186bf9747f971fb393d0', 'execute', 'nexus', 'H2-1LE', 'restarted and done', 'restarted and done', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 48536540528697594, "observables": [], "level": null}', 'COMPLETED', '', 2, 2, NULL, NULL, NULL, NULL, NULL, 22, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:25:06+00', '2026-11-01 12:29:11+00');
INSERT INTO public.job VALUES ('job-01d89a024cdc47a697288ff68c320f89', '7265ac11aea5ed80223604f59962d1e51110c565', 'execute', 'nexus', 'H2-1LE', 'run again', '', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 48536540528697594, "observables": [], "level": null}', 'CREATED', '', 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, '{"backend_name": "nexus/H2-1LE", "rerun_of": "job-f1cfd99216df448687adec26793d0e45"}', '2026-11-01 12:29:11+00', NULL);
INSERT INTO public.job VALUES ('job-6c79a3de69f84e31b1f3b9238224b122', 'ff981c07d57242ce37bae1fbfe9aaa6ddd2b2f26', 'execute', 'nexus', 'H2-1LE', 'cancelled unsent', 'cancelled unsent', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 61178025134555289, "observables": [], "level": null}', 'CANCELLED', '', 1, 2, '2026-11-01 12:30:21+00', NULL, NULL, NULL, NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:30:21+00', '2026-11-01 12:30:21+00');
INSERT INTO public.job VALUES ('job-738d243a6e5845ca89c7b59b995253fd', '2eb41db0f188462dc02bb2033c228533c69fb30d', 'execute', 'nexus', 'H2-1LE', 'cancelled in part', 'cancelled in part', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 4256157963080188, "observables": [], "level": null}', 'CREATED', '', 1, 3, NULL, NULL, NULL, NULL, NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:30:21+00', NULL);
INSERT INTO public.job VALUES ('job-4278c2614e1b4b38bbb4a570294c4ea3', '8ebd6537117ac73e986fa395dee448bef5122d57', 'execute', 'nexus', 'H2-1LE', 'refused', 'refused', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 53730931034145485, "observables": [], "level": null}', 'ERROR', '422: n_shots is above the group''s limit', 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:30:21+00', '2026-11-01 12:30:26+00');
INSERT INTO public.job VALUES ('job-14c15c910b114d288c21ce88d0060cc5', 'e3d2c8780a26a2332a2d69f68b11681fbcb6719e', 'execute', 'nexus', 'H2-1LE', 'depleted', 'depleted', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 27199926769457460, "observables": [], "level": null}', 'DEPLETED', 'no credits are left', 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:30:26+00', '2026-11-01 12:31:31+00');
INSERT INTO public.job VALUES ('job-2522d53857c44391b36cc9aa78a330a1', '6969c2db77c60045d2a9038737218f19b8d9596e', 'execute', 'nexus', 'H1-1E', 'locked out', 'locked out', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 65736598116420883, "observables": [], "level": null}', 'CREATED', 'nexus answered 401; log in again: qnx login', 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, '{"backend_name": "nexus-backend/lab"}', '2026-11-01 12:33:41+00', NULL);
INSERT INTO public.job VALUES ('job-2f0733c846bb49e8b0ef55b1a1f65507', '0000000000000000000000000000000000000000', 'hamiltonian', 'nexus', 'H2-1LE', 'hamiltonian', '', 'notebook', 'chemistry', 'somebody', '{"seed": null, "observables": [], "level": null}', 'CREATED', '', 1, 1, NULL, NULL, NULL, NULL, 12.5, NULL, '{"backend_name": "nexus/H2-1LE", "tags": ["a", 1, null, true, 0.5]}', '2026-11-01 12:34:56+00', NULL);
INSERT INTO public.job VALUES ('job-42a00403ce8044b0a4042bb3d4341aad', 'fa2d7960c2309b473d30a62e82b8685133a1605c', 'execute', 'nexus', 'H2-1LE', 'lost and findable', 'lost and findable', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 56621483917955700, "observables": [], "level": null}', 'UNKNOWN', 'the connection was closed before the answer came', 1, 2, NULL, '2026-11-01 12:55:34.859932+00', NULL, 'nexus does not have it: submit it again with ALLOW_RESUBMIT, or discard it', NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:13:35+00', NULL);
INSERT INTO public.job VALUES ('job-d8441b5616334aca9f552773e14b0190', '3c7f05bc882b3a2efa4b091e889e936305625438', 'execute', 'nexus', 'H2-1LE', 'left by its process', 'left by its process', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 55412476692543362, "observables": [], "level": null}', 'UNKNOWN', 'attempt 1: host-a:100:1 did not settle it within its lease', 1, 2, NULL, '2026-11-01 12:55:14.101901+00', NULL, 'nexus does not have it: submit it again with ALLOW_RESUBMIT, or discard it', NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:14:55+00', NULL);
INSERT INTO public.job VALUES ('job-c3e4a892d9194ada8fcfa583e1df8af9', 'b5e15684f3f31a97ee94e90bf291f4717d06cc91', 'execute', 'nexus', 'H2-1LE', 'cancelled', 'cancelled', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 45443444291342570, "observables": [], "level": null}', 'CANCELLED', 'cancelled by the user', 1, 2, '2026-11-01 12:29:21+00', NULL, NULL, NULL, NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:29:11+00', '2026-11-01 12:30:21+00');
INSERT INTO public.job VALUES ('job-a5e333cb88dc494384d4cd1f47ca7883', '7c88bf40595d8dd072521bcf2e2122ee7c7522e2', 'execute', 'nexus', 'H2-1LE', 'results are late', 'results are late', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 324157030766953, "observables": [], "level": null}', 'COMPLETED', '', 1, 2, NULL, '2026-11-01 12:46:03.811214+00', NULL, 'COMPLETED, and no results yet', NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:32:36+00', '2026-11-01 12:33:41+00');
INSERT INTO public.job VALUES ('job-634f806fabf4407c966002249b191bf4', '56de24a92294cb48dda3bab2d3c504e7cbd0d070', 'execute', 'nexus', 'H2-1LE', 'retried', 'retried', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 66492192431155560, "observables": [], "level": null}', 'RETRYING', 'calibrating', 1, 2, NULL, '2026-11-01 12:45:52+00', NULL, NULL, NULL, 5.5, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:19:56+00', NULL);
INSERT INTO public.job VALUES ('job-8ca5996666ce4b368512bd1311072231', '4a39ad3c016f225a62d3b65dca7a56936ad5c62c', 'execute', 'nexus', 'H2-1LE', 'rabi 3/3', 'rabi', '00000000-0000-4000-8000-00000000000a', '', '', '{"seed": 47218911211079568, "observables": [], "level": null}', 'QUEUED', '', 1, 2, NULL, '2026-11-01 12:49:04+00', NULL, NULL, NULL, NULL, '{"definition": "848ea22ce7e9532a", "backend_name": "nexus/H2-1LE"}', '2026-11-01 12:00:00+00', NULL);
INSERT INTO public.job VALUES ('job-2a31878531844f27859142deccea2645', 'dc68a43464b515153a3e149cc8404fd705d42d11', 'execute', 'rest', 'reference', 'lost and opaque', 'lost and opaque', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 63924857969781698, "observables": [], "level": null}', 'UNKNOWN', 'the connection was closed before the answer came', 1, 2, NULL, '2026-11-01 12:55:04.692354+00', NULL, 'rest cannot look it up: look at reference yourself, then adopt its id or discard it', NULL, NULL, '{"backend_name": "rest-backend/reference"}', '2026-11-01 12:13:35+00', NULL);
INSERT INTO public.job VALUES ('job-de08caa1a08149108a25e4664f5253a0', 'faa9f5a8092c9e602ce4f074b62fa8839e5ca7d8', 'execute', 'rest', 'reference', 'adopted', 'adopted', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 65009458068314585, "observables": [], "level": null}', 'QUEUED', '', 1, 2, NULL, '2026-11-01 12:48:00+00', NULL, NULL, NULL, NULL, '{"backend_name": "rest-backend/reference"}', '2026-11-01 12:13:35+00', NULL);
INSERT INTO public.job VALUES ('job-ff5a52f1a05845acb671863c0bdbc23a', '789ad3dd5d2453232ebd9d8203822a1964fef34c', 'execute', 'aer', 'aer_simulator', 'terminated', 'terminated', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 8037761167513767, "observables": [], "level": null}', 'TERMINATED', 'the process that simulated it has ended; run the job again', 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, '{"backend_name": "aer"}', '2026-11-01 12:31:31+00', '2026-11-01 12:32:36+00');
INSERT INTO public.job VALUES ('job-1710cf5327ac435aba97c643656412a9', '12616c054a57e90f1eb7fe28b299cc58e391aea9', 'execute', 'nexus', 'H2-1LE', 'rabi 2/3', 'rabi', '00000000-0000-4000-8000-00000000000a', '', '', '{"seed": 64606586009921494, "observables": [], "level": null}', 'RUNNING', '', 1, 3, NULL, '2026-11-01 12:59:36+00', 'host-b:200:1 00000000-0000-4000-8000-000000000000/4026531836/4026531834/5000', NULL, NULL, NULL, '{"definition": "848ea22ce7e9532a", "backend_name": "nexus/H2-1LE"}', '2026-11-01 12:00:00+00', NULL);
INSERT INTO public.job VALUES ('job-3f5082492d834823bfb62d2c81862fc9', 'f1b171e1a4ca0e69c3fa32e20ade0a6aeb43803d', 'execute', 'nexus', 'H2-1LE', 'restarted', 'restarted', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 51557707752930289, "observables": [], "level": null}', 'SUBMITTED', '', 2, 2, NULL, '2026-11-01 12:59:36+00', 'host-b:200:1 00000000-0000-4000-8000-000000000000/4026531836/4026531834/5000', NULL, NULL, 5.5, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:23:01+00', NULL);
INSERT INTO public.job VALUES ('job-b474c7e8928641758abcb06ae8abb93f', '657af8dc9dd4bd6765ea01a86266abbc580b9188', 'execute', 'nexus', 'H2-1LE', 'cancelling', 'cancelling', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 7276115901456926, "observables": [], "level": null}', 'CANCELLING', '', 1, 2, '2026-11-01 12:29:21+00', '2026-11-01 12:45:52+00', NULL, NULL, NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:29:11+00', NULL);
INSERT INTO public.job VALUES ('job-11021c9e32114ac1ac7cc4a4ff4dab10', 'dcb7778994cb41f1f3463a504761ac421edef050', 'execute', 'nexus', 'H1-1E', 'parked', 'parked', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 23587585271002814, "observables": [], "level": null}', 'QUEUED', '', 1, 2, NULL, '2026-11-01 12:50:28.15292+00', NULL, 'CredentialsRejected: nexus answered 401; log in again: qnx login', NULL, NULL, '{"backend_name": "nexus-backend/lab"}', '2026-11-01 12:33:46+00', NULL);
INSERT INTO public.job VALUES ('job-a2909cb633e248b4a9dd38b869ace913', '9348e804621544222005e753a5fa1351b2fe3321', 'execute', 'nexus', 'H2-1LE', 'without a backend''s name', '', 'notebook', '', '', '{"seed": null, "observables": [], "level": null}', 'SUBMITTED', '', 1, 1, NULL, '2026-11-01 12:50:17.941335+00', NULL, 'InvalidInput: there is no backend ''nexus''; use aer or nexus/DEVICE', NULL, NULL, '{}', '2026-11-01 12:34:51+00', NULL);
INSERT INTO public.job VALUES ('job-32decd6b8efb4170a26a25c852175b7a', '067ef33a81ebef51149131ccab25022b3db1756c', 'execute', 'rest', 'reference', 'to be cancelled in part', 'to be cancelled in part', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 35650896995512027, "observables": [], "level": null}', 'RUNNING', '', 1, 3, NULL, NULL, NULL, NULL, NULL, NULL, '{"backend_name": "rest-backend/reference"}', '2026-11-01 12:45:56+00', NULL);
INSERT INTO public.job VALUES ('job-96b98b5fbf3742beaf98bca35b17b966', '15a42de6991d517c0f61b830627a1c2c95fc32ad', 'execute', 'nexus', 'H2-1LE', 'to be cancelled', 'to be cancelled', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 61201903103401906, "observables": [], "level": null}', 'QUEUED', '', 1, 2, '2026-11-01 12:48:06+00', NULL, NULL, NULL, NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:45:56+00', NULL);
INSERT INTO public.job VALUES ('job-d6e4a51519d949cc92d32377e78131c1', 'a179b80879a3928e91bc0894f619a9769d123466', 'execute', 'nexus', 'H2-1LE', 'submitting', 'submitting', '00000000-0000-4000-8000-00000000000c', '', '', '{"seed": 35729207832700793, "observables": [], "level": null}', 'SUBMITTING', '', 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, '{"backend_name": "nexus/H2-1LE"}', '2026-11-01 12:49:36+00', NULL);


--
-- Data for Name: ledger_meta; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.ledger_meta VALUES ('schema_version', '4');
INSERT INTO public.ledger_meta VALUES ('events_told', '183');


--
-- Data for Name: program; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.program VALUES ('7832ae3d65f002914b3c0c6c662ba771bea518192823ab1146dae4d74bf1565a', 'openqasm3', '\x4f50454e5141534d20332e303b0a696e636c756465202273746467617465732e696e63223b0a696e70757420666c6f61742074686574613b0a71756269745b315d20713b0a6269745b315d20633b0a72792874686574612920715b305d3b0a635b305d203d206d65617375726520715b305d3b0a', 1, 1, true, '["theta"]');
INSERT INTO public.program VALUES ('57466a07067518e6ed56a6deefc4c20acefe22f6ead4f4f90e83ce9018e3bca3', 'openqasm3', '\x4f50454e5141534d20332e303b0a696e636c756465202273746467617465732e696e63223b0a696e70757420666c6f61742074686574613b0a71756269745b325d20713b0a72792874686574612920715b305d3b0a637820715b305d2c20715b315d3b0a', 2, 0, false, '["theta"]');
INSERT INTO public.program VALUES ('ac6bdd8c0ebc9e30dbe2d39e590e26ffbcd94b433a86110f1b194040132b79e1', 'openqasm2', '\x4f50454e5141534d20322e303b0a696e636c756465202271656c6962312e696e63223b0a7172656720715b325d3b0a6372656720635b325d3b0a6820715b305d3b0a637820715b305d2c715b315d3b0a6d6561737572652071202d3e20633b0a', 2, 2, true, '[]');
INSERT INTO public.program VALUES ('f1cb7fc9d2fe826fb13e6fae39b6fcbedf6db9e3b149d7563745d3ddec4ef8e4', 'pytket', '\x7b2262697473223a5b5b2263222c5b305d5d2c5b2263222c5b315d5d5d2c22636f6d6d616e6473223a5b7b2261726773223a5b5b2271222c5b305d5d5d2c226f70223a7b2274797065223a2248227d7d2c7b2261726773223a5b5b2271222c5b305d5d2c5b2271222c5b315d5d5d2c226f70223a7b2274797065223a224358227d7d2c7b2261726773223a5b5b2271222c5b305d5d2c5b2263222c5b305d5d5d2c226f70223a7b2274797065223a224d656173757265227d7d2c7b2261726773223a5b5b2271222c5b315d5d2c5b2263222c5b315d5d5d2c226f70223a7b2274797065223a224d656173757265227d7d2c7b2261726773223a5b5b2271222c5b305d5d5d2c226f70223a7b22706172616d73223a5b22302e35225d2c2274797065223a22527a227d7d5d2c22637265617465645f717562697473223a5b5d2c226469736361726465645f717562697473223a5b5d2c22696d706c696369745f7065726d75746174696f6e223a5b5b5b2271222c5b305d5d2c5b2271222c5b305d5d5d2c5b5b2271222c5b315d5d2c5b2271222c5b315d5d5d5d2c226e616d65223a22636f6d70696c6564222c227068617365223a22302e30222c22717562697473223a5b5b2271222c5b305d5d2c5b2271222c5b315d5d5d7d', 2, 2, true, '[]');
INSERT INTO public.program VALUES ('93d11129e3bb38d826a172af68d900d23a5079d8af2d223d78ffd37478a52619', 'openqasm2', '\x4f50454e5141534d20322e303b0a696e636c756465202271656c6962312e696e63223b0a7172656720715b325d3b0a6372656720635b325d3b0a6820715b305d3b0a6820715b305d3b0a727928302e32352920715b305d3b0a637820715b305d2c715b315d3b0a6d6561737572652071202d3e20633b0a', 2, 2, true, '[]');
INSERT INTO public.program VALUES ('9fea04131f6af66890c0e5042a17cad1edfc43c4d2d1cebe57a2a6cb0638ec63', 'qpy', '\x5149534b49541202060200000000000000017071000000000000001c001066000800000002000000020000000000000002000000020000000000000004000000003933643131313239653362623338643800000000000000007b7d710100000002000101017100000000630100000002000101016300000000000000000000000000000000000000060000000100000001000000000000000000000000000000000000000000000052594761746571000000006600000000000000083fd0000000000000000600000000000000020000000000000000000000000000000000000100000001435847617465710000000071000000010007000000000000000100000001000000000000000000000000000000000000004d656173757265710000000063000000000007000000000000000100000001000000000000000000000000000000000000004d6561737572657100000001630000000100ffffffffffffffffffffffff0000000000000000', 2, 2, true, '[]');


--
-- Data for Name: result; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.result VALUES ('job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 1, 0, 1, '\x7801ab564ace2fcd2b2956b2aa563250b2323430a8d5514aad28284bcc018ae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b5000b2b16b6', '2026-11-01 12:02:15+00');
INSERT INTO public.result VALUES ('job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 1, 1, 1, '\x7801ab564ace2fcd2b2956b2aa563250b2b2b4d4513254b232acd5514aad28284bcc014ae495e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50056e517a3', '2026-11-01 12:02:15+00');
INSERT INTO public.result VALUES ('job-b8a1abcd1a6946c78da4f9fc3c6da5d7', 1, 2, 1, '\x7801ab564ace2fcd2b2956b2aa563250b2b234d7513254b232aed5514aad28284bcc014ae495e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50056d917a3', '2026-11-01 12:02:15+00');
INSERT INTO public.result VALUES ('job-1710cf5327ac435aba97c643656412a9', 1, 0, 1, '\x7801ab564ace2fcd2b2956b2aa563250b2b234d3513254b232a9d5514aad28284bcc014ae495e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50056d317a3', '2026-11-01 12:04:15+00');
INSERT INTO public.result VALUES ('job-8534f45738d048ec8f1099c6c3e1b258', 1, 0, 1, '\x7801ab564ace2fcd2b2956b2ca2bcdc9d1514aad28284bcc0172ab95aaaa94ac0cf50c749472332b525394ac740df58c8d2ccd6a75940a8af2d38b1273617a524a8b124b32f3f3e2a1a6d40200b9f91c8f', '2026-11-01 12:07:20+00');
INSERT INTO public.result VALUES ('job-8534f45738d048ec8f1099c6c3e1b258', 1, 1, 1, '\x7801ab564ace2fcd2b2956b2ca2bcdc9d1514aad28284bcc0172ab95aaaa94ac0cf50c749472332b525394ac74811c7333f35a1da582a2fcf4a2c45c989e94d2a2c492ccfcbc78a829b500b9f71c8f', '2026-11-01 12:07:20+00');
INSERT INTO public.result VALUES ('job-8534f45738d048ec8f1099c6c3e1b258', 1, 2, 1, '\x7801ab564ace2fcd2b2956b2ca2bcdc9d1514aad28284bcc0172ab95aaaa94ac0cf50c749472332b525394ac740df4cc4dcdcc6b75940a8af2d38b1273617a524a8b124b32f3f3e2a1a6d40200ba931c93', '2026-11-01 12:07:20+00');
INSERT INTO public.result VALUES ('job-c79d679346d44c7a9c3902b38963dc6e', 1, 0, 1, '\x780175935b6fe2301085ff4b9e7920044283d487d2dd80230a12086258ad2a5f1b8313d25c9a84aaff7dc7d050a46ddf12cb67e69b73c6ef163b9649915ba3a4d4ba63893a7d23fafa9b66c7978cc4d6e8dd8a481e59234bda8c0e25f3784f8abb9e2ba9ed085712e178d4958c0a2e5d4e3de150bbeff1e1c07586fd01773817ac2fe49de85b1d4b1eb39814502b6d8a8328e024258d3e120e47a20914c1cb13daa7346c823d52357df26d3ef373b56d501e9e7c8e37dd1cc5f3371ada118d2f774117b198b7babad5e155a5a8f3a01649aef85457bb1572d1e14549dccd7fd2985e6c75dbcbab80678892e5804dd66aa1825fe163e0c9553d44b1dfec9c27b5d00545c96f05dacaf0ddb27fcf60eb2d9edb2c5effccb2f96eeeff58e6bbd03f711c6894d8de6c0a3ee120610d7243bb9d63fce959ab1d83577e71bed3a06ab65f2bc378f54707aea965ceb64e009c4bbdf3bd9a8741caa7e759f9ec3138103cdf43afc32e5c4a8637d7dc8c8e847645277a0f594a36d934144c813a29edf5cf5e813fd78cbefcbe707e7143d6abbaf5b5c6e0c7d94b603fe76876008f533ad91c90aa149b4411eb997ccc4c0f0a186f99db3a6d3e97fea626eedec31226cfaf2555e629f4cccff53316242f3301db5964a530cb0a2f421422839b7ffe7e742c5e66a450c7e4f9f3d97cfc03509929eb', '2026-11-01 12:09:25+00');
INSERT INTO public.result VALUES ('job-43000de01b2e440e93addccb2c33be0a', 1, 0, 1, '\x7801ab564ace2fcd2b2956b2aa56323050b23235d251323454b232b1a8d5514aad28284bcc01cae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50086c31834', '2026-11-01 12:11:30+00');
INSERT INTO public.result VALUES ('job-43000de01b2e440e93addccb2c33be0a', 1, 2, 1, '\x7801ab564ace2fcd2b2956b2aa56323050b23231d751323454b23235aed5514aad28284bcc01cae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50086e31834', '2026-11-01 12:11:30+00');
INSERT INTO public.result VALUES ('job-06905269ed6f4b09b165c8ce36e2f24b', 1, 0, 1, '\x7801ab564ace2fcd2b2956b2aa56323050b2b2b4d051323454b232aad5514aad28284bcc014ae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50076e71804', '2026-11-01 12:13:35+00');
INSERT INTO public.result VALUES ('job-06905269ed6f4b09b165c8ce36e2f24b', 1, 1, 1, '\x7801ab564ace2fcd2b2956b2aa56323050b2b2b4d451323454b232acd5514aad28284bcc014ae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50076ee1804', '2026-11-01 12:13:35+00');
INSERT INTO public.result VALUES ('job-634f806fabf4407c966002249b191bf4', 1, 0, 1, '\x7801ab564ace2fcd2b2956b2aa56323050b23235d451323454b232b1acd5514aad28284bcc01cae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50086bb1834', '2026-11-01 12:22:01+00');
INSERT INTO public.result VALUES ('job-3f5082492d834823bfb62d2c81862fc9', 1, 0, 1, '\x7801ab564ace2fcd2b2956b2aa56323050b23233d051323454b23231a8d5514aad28284bcc01cae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50084f1182b', '2026-11-01 12:25:06+00');
INSERT INTO public.result VALUES ('job-f1cfd99216df448687adec26793d0e45', 1, 0, 1, '\x7801ab564ace2fcd2b2956b2aa56323050b23235d551323454b23231add5514aad28284bcc01cae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50086db1834', '2026-11-01 12:27:11+00');
INSERT INTO public.result VALUES ('job-f1cfd99216df448687adec26793d0e45', 1, 1, 1, '\x7801ab564ace2fcd2b2956b2aa56323050b23235d151323454b23231abd5514aad28284bcc01cae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50086d31834', '2026-11-01 12:27:11+00');
INSERT INTO public.result VALUES ('job-f1cfd99216df448687adec26793d0e45', 2, 0, 2, '\x7801ab564ace2fcd2b2956b2aa56323050b23231d551323454b23235add5514aad28284bcc01cae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50086d31834', '2026-11-01 12:29:11+00');
INSERT INTO public.result VALUES ('job-f1cfd99216df448687adec26793d0e45', 2, 1, 2, '\x7801ab564ace2fcd2b2956b2aa56323050b23231d351323454b23235a9d5514aad28284bcc01cae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50086db1834', '2026-11-01 12:29:11+00');
INSERT INTO public.result VALUES ('job-14c15c910b114d288c21ce88d0060cc5', 1, 0, 1, '\x7801ab564ace2fcd2b2956b2aa56323050b232b1d051323454b23235aad5514aad28284bcc01cae595e6e4e8281514e5a71725e6c2b829a545892599f979f14005067a46a6b50086eb1834', '2026-11-01 12:31:31+00');


--
-- Data for Name: runner; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.runner VALUES ('00000000-0000-4000-8000-00000000000c', 'host-a:100:1', 'run-circuits', 'http://127.0.0.1:4200/api', '2026-11-01 12:49:06+00', '2026-11-01 12:49:06+00');
INSERT INTO public.runner VALUES ('', 'host-b:200:1 00000000-0000-4000-8000-000000000000/4026531836/4026531834/5000', 'sensor', 'http://127.0.0.1:4200/api', '2026-11-01 12:49:06+00', '2026-11-01 12:49:36+00');


--
-- Data for Name: wait; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.wait VALUES ('00000000-0000-4000-8000-00000000000a', 'job-1710cf5327ac435aba97c643656412a9', 'all', 'http://127.0.0.1:4200/api', '2026-11-01 12:49:06+00', NULL, NULL);
INSERT INTO public.wait VALUES ('00000000-0000-4000-8000-00000000000a', 'job-8ca5996666ce4b368512bd1311072231', 'all', 'http://127.0.0.1:4200/api', '2026-11-01 12:49:06+00', NULL, NULL);
INSERT INTO public.wait VALUES ('00000000-0000-4000-8000-00000000000b', 'job-1710cf5327ac435aba97c643656412a9', 'any', 'http://127.0.0.1:4200/api', '2026-11-01 12:49:06+00', '2026-11-03 12:49:06+00', 'cancel');
INSERT INTO public.wait VALUES ('00000000-0000-4000-8000-00000000000b', 'job-8ca5996666ce4b368512bd1311072231', 'any', 'http://127.0.0.1:4200/api', '2026-11-01 12:49:06+00', '2026-11-03 12:49:06+00', 'cancel');
INSERT INTO public.wait VALUES ('00000000-0000-4000-8000-00000000000b', 'job-96b98b5fbf3742beaf98bca35b17b966', 'any', 'http://127.0.0.1:4200/api', '2026-11-01 12:49:06+00', '2026-11-03 12:49:06+00', 'cancel');


--
-- Name: event_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.event_id_seq', 203, true);


--
-- Name: attempt attempt_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT attempt_pkey PRIMARY KEY (job_id, number);


--
-- Name: event event_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (id);


--
-- Name: item item_job_id_label_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.item
    ADD CONSTRAINT item_job_id_label_key UNIQUE (job_id, label);


--
-- Name: item item_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.item
    ADD CONSTRAINT item_pkey PRIMARY KEY (job_id, item_index);


--
-- Name: job job_key_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_key_key UNIQUE (key);


--
-- Name: job job_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (job_id);


--
-- Name: ledger_meta ledger_meta_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.ledger_meta
    ADD CONSTRAINT ledger_meta_pkey PRIMARY KEY (name);


--
-- Name: program program_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.program
    ADD CONSTRAINT program_pkey PRIMARY KEY (hash);


--
-- Name: result result_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.result
    ADD CONSTRAINT result_pkey PRIMARY KEY (job_id, epoch, item_index);


--
-- Name: runner runner_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.runner
    ADD CONSTRAINT runner_pkey PRIMARY KEY (flow_run_id, owner);


--
-- Name: wait wait_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.wait
    ADD CONSTRAINT wait_pkey PRIMARY KEY (flow_run_id, job_id);


--
-- Name: attempt_by_remote_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX attempt_by_remote_id ON public.attempt USING btree (remote_id);


--
-- Name: event_by_job; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX event_by_job ON public.event USING btree (job_id, id);


--
-- Name: item_to_cancel; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX item_to_cancel ON public.item USING btree (job_id) WHERE (cancel_requested_at IS NOT NULL);


--
-- Name: job_by_device; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX job_by_device ON public.job USING btree (backend, device, status);


--
-- Name: job_by_experiment; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX job_by_experiment ON public.job USING btree (experiment, created_at);


--
-- Name: job_by_run; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX job_by_run ON public.job USING btree (run);


--
-- Name: job_by_status; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX job_by_status ON public.job USING btree (status, next_poll_at);


--
-- Name: one_live_attempt_per_job; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX one_live_attempt_per_job ON public.attempt USING btree (job_id) WHERE ((status)::text = ANY ((ARRAY['CANCELLING'::character varying, 'QUEUED'::character varying, 'RETRYING'::character varying, 'RUNNING'::character varying, 'SUBMITTED'::character varying, 'SUBMITTING'::character varying, 'UNKNOWN'::character varying])::text[]));


--
-- Name: wait_by_job; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX wait_by_job ON public.wait USING btree (job_id);


--
-- Name: attempt attempt_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT attempt_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(job_id);


--
-- Name: event event_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.event
    ADD CONSTRAINT event_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(job_id);


--
-- Name: item item_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.item
    ADD CONSTRAINT item_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(job_id);


--
-- Name: item item_program_hash_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.item
    ADD CONSTRAINT item_program_hash_fkey FOREIGN KEY (program_hash) REFERENCES public.program(hash);


--
-- Name: result result_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.result
    ADD CONSTRAINT result_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(job_id);


--
-- Name: wait wait_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.wait
    ADD CONSTRAINT wait_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(job_id);


--
-- PostgreSQL database dump complete
--


