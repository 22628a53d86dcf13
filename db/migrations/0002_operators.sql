CREATE TABLE "audit" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "audit_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"at" timestamp with time zone DEFAULT now() NOT NULL,
	"who" text NOT NULL,
	"verb" text NOT NULL,
	"scope" jsonb NOT NULL,
	"dry_run" boolean NOT NULL,
	"result" jsonb,
	"job_id" bigint
);
--> statement-breakpoint
CREATE TABLE "jobs" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "jobs_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"kind" text NOT NULL,
	"scope" jsonb NOT NULL,
	"options" jsonb NOT NULL,
	"state" text DEFAULT 'running' NOT NULL,
	"total" bigint,
	"done" bigint DEFAULT '0' NOT NULL,
	"failed" bigint DEFAULT '0' NOT NULL,
	"cursor" text collate "C" DEFAULT '' NOT NULL,
	"started_by" text NOT NULL,
	"started_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"ended_at" timestamp with time zone,
	CONSTRAINT "jobs_kind" CHECK (kind in ('redrive', 'discard', 'migrate', 'rebuild')),
	CONSTRAINT "jobs_state" CHECK (state in ('running', 'done', 'cancelled', 'failed'))
);
--> statement-breakpoint
ALTER TABLE "dead_letters" ADD COLUMN "forced" boolean DEFAULT false NOT NULL;--> statement-breakpoint
CREATE INDEX "audit_job" ON "audit" USING btree ("job_id") WHERE job_id is not null;