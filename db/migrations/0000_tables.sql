CREATE TABLE "customers" (
	"customer_id" text collate "C" PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"at_ms" bigint NOT NULL,
	"source" text collate "C" NOT NULL,
	"source_offset" bigint NOT NULL,
	"rev" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "dead_letters" (
	"topic" text collate "C" NOT NULL,
	"partition" integer NOT NULL,
	"generation" smallint NOT NULL,
	"offset" bigint NOT NULL,
	"id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "dead_letters_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"stage" text NOT NULL,
	"code" text NOT NULL,
	"class" text,
	"message" text NOT NULL,
	"stack" text,
	"key" "bytea",
	"value" "bytea",
	"headers" json NOT NULL,
	"sha256" "bytea" NOT NULL,
	"size" integer NOT NULL,
	"record_ms" bigint NOT NULL,
	"cluster_id" text NOT NULL,
	"consumer_group" text,
	"user_id" text collate "C",
	"user_version" integer,
	"type" text,
	"dialect" text,
	"event_id" text,
	"occurred_at" timestamp with time zone,
	"blocks" boolean NOT NULL,
	"status" text DEFAULT 'open' NOT NULL,
	"attempts" integer DEFAULT 1 NOT NULL,
	"first_failed_at" timestamp with time zone DEFAULT now() NOT NULL,
	"last_failed_at" timestamp with time zone DEFAULT now() NOT NULL,
	"service_version" text NOT NULL,
	"machine_version" integer NOT NULL,
	"instance" text NOT NULL,
	"trace_id" text,
	"by_whom" text,
	"settled_at" timestamp with time zone,
	"note" text,
	"edited_value" "bytea",
	CONSTRAINT "dead_letters_topic_partition_generation_offset_pk" PRIMARY KEY("topic","partition","generation","offset"),
	CONSTRAINT "dead_letters_id" UNIQUE("id"),
	CONSTRAINT "dead_letters_status" CHECK ("dead_letters"."status" in ('open', 'redriving', 'resolved', 'discarded'))
);
--> statement-breakpoint
CREATE TABLE "history" (
	"topic" text collate "C" NOT NULL,
	"partition" integer NOT NULL,
	"generation" smallint NOT NULL,
	"offset" bigint NOT NULL,
	"user_id" text collate "C",
	"customer_id" text collate "C",
	"version" integer,
	"type" text NOT NULL,
	"outcome" text NOT NULL,
	"from_state" text,
	"to_state" text,
	"transition" text,
	"drift" boolean NOT NULL,
	"event" json NOT NULL,
	"facts" json NOT NULL,
	"occurred_at" timestamp with time zone NOT NULL,
	"recorded_at" timestamp with time zone DEFAULT now() NOT NULL,
	"dialect" text NOT NULL,
	"event_id" text NOT NULL,
	"trace_id" text,
	"machine_version" integer NOT NULL,
	CONSTRAINT "history_topic_partition_generation_offset_pk" PRIMARY KEY("topic","partition","generation","offset"),
	CONSTRAINT "history_user_version" UNIQUE("user_id","version")
);
--> statement-breakpoint
CREATE TABLE "holds" (
	"kind" text NOT NULL,
	"id" text collate "C" NOT NULL,
	"reason" text NOT NULL,
	"by_whom" text NOT NULL,
	"since" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "holds_kind_id_pk" PRIMARY KEY("kind","id"),
	CONSTRAINT "holds_kind" CHECK ("holds"."kind" in ('user', 'customer'))
);
--> statement-breakpoint
CREATE TABLE "positions" (
	"topic" text collate "C" NOT NULL,
	"partition" integer NOT NULL,
	"generation" smallint DEFAULT 0 NOT NULL,
	"next_offset" bigint NOT NULL,
	"first_offset" bigint NOT NULL,
	"cluster_id" text NOT NULL,
	"leader_epoch" integer,
	"tail_offset" bigint,
	"tail_hash" "bytea",
	"state" text DEFAULT 'running' NOT NULL,
	"halted_reason" text,
	"owner" text,
	"updated_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"tallies" jsonb DEFAULT '{}'::jsonb NOT NULL,
	CONSTRAINT "positions_topic_partition_pk" PRIMARY KEY("topic","partition"),
	CONSTRAINT "positions_next_offset" CHECK ("positions"."next_offset" >= 0),
	CONSTRAINT "positions_state" CHECK ("positions"."state" in ('running', 'halted'))
);
--> statement-breakpoint
CREATE TABLE "users" (
	"user_id" text collate "C" PRIMARY KEY NOT NULL,
	"customer_id" text collate "C",
	"state" text NOT NULL,
	"version" integer NOT NULL,
	"role" text NOT NULL,
	"user_type" text NOT NULL,
	"is_company_owner" boolean NOT NULL,
	"source_role" text NOT NULL,
	"email" text NOT NULL,
	"name" text NOT NULL,
	"status_at_ms" bigint,
	"status_source" text collate "C",
	"status_offset" bigint,
	"role_at_ms" bigint,
	"role_source" text collate "C",
	"role_offset" bigint,
	"ring" "bytea" NOT NULL,
	"waiting" integer NOT NULL,
	"rev" bigint NOT NULL,
	"machine_version" integer NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"deleted_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "waiting" (
	"topic" text collate "C" NOT NULL,
	"partition" integer NOT NULL,
	"generation" smallint NOT NULL,
	"offset" bigint NOT NULL,
	"id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "waiting_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"user_id" text collate "C" NOT NULL,
	"customer_id" text collate "C",
	"reason" text NOT NULL,
	"type" text NOT NULL,
	"key" "bytea",
	"value" "bytea",
	"headers" json NOT NULL,
	"record_ms" bigint NOT NULL,
	"event_id" text NOT NULL,
	"dialect" text NOT NULL,
	"occurred_at" timestamp with time zone NOT NULL,
	"at_ms" bigint NOT NULL,
	"since" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "waiting_topic_partition_generation_offset_pk" PRIMARY KEY("topic","partition","generation","offset"),
	CONSTRAINT "waiting_reason" CHECK ("waiting"."reason" in ('customer', 'user', 'dead-letter', 'hold', 'order', 'machine'))
);
--> statement-breakpoint
CREATE INDEX "dead_letters_unsettled" ON "dead_letters" USING btree ("user_id") WHERE status in ('open', 'redriving');--> statement-breakpoint
CREATE INDEX "dead_letters_redriving" ON "dead_letters" USING btree ("id") WHERE status = 'redriving';--> statement-breakpoint
CREATE INDEX "waiting_user" ON "waiting" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "waiting_customer" ON "waiting" USING btree ("customer_id","user_id");