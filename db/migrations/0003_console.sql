CREATE TABLE "idempotency" (
	"who" text NOT NULL,
	"key" text NOT NULL,
	"route" text NOT NULL,
	"body_hash" text NOT NULL,
	"status" integer,
	"location" text,
	"reply" text,
	"at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "idempotency_who_key_pk" PRIMARY KEY("who","key")
);
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "dead_letters_open" ON "dead_letters" USING btree ("id") WHERE status in ('open', 'redriving');--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "users_customer" ON "users" USING btree ("customer_id","user_id");--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "users_email" ON "users" USING btree (lower("email"));--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "waiting_id" ON "waiting" USING btree ("id");