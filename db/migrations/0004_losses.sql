CREATE TABLE IF NOT EXISTS "losses" (
	"topic" text collate "C" NOT NULL,
	"partition" integer NOT NULL,
	"generation" smallint NOT NULL,
	"first_offset" bigint NOT NULL,
	"last_offset" bigint NOT NULL,
	"cluster_id" text NOT NULL,
	"halted_reason" text,
	"reason" text NOT NULL,
	"by_whom" text NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "losses_topic_partition_generation_first_offset_pk" PRIMARY KEY("topic","partition","generation","first_offset"),
	CONSTRAINT "losses_range" CHECK ("losses"."first_offset" <= "losses"."last_offset")
);
