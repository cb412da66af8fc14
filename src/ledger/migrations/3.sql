-- From version 2 to 3: the ids that were paid for last are beside their meter, and become a row of
-- `charge` when there are many. Ids that are stored stay where they are.

ALTER TABLE meter ADD COLUMN last_choice INTEGER NOT NULL DEFAULT 0 CHECK(last_choice>=0);
ALTER TABLE meter ADD COLUMN last_ids BLOB NOT NULL DEFAULT x''
    CHECK(length(last_ids)%4=0 AND (state='open' OR length(last_ids)=0));
CREATE TRIGGER meter_ids_stay BEFORE UPDATE OF last_choice,last_ids ON meter
  WHEN (length(new.last_ids)<length(old.last_ids)
      OR substr(new.last_ids,1,length(old.last_ids))<>old.last_ids
      OR (new.last_choice<>old.last_choice AND length(old.last_ids)>0))
    AND NOT EXISTS(SELECT 1 FROM charge WHERE meter_id=old.id
      AND n=(SELECT max(n) FROM charge WHERE meter_id=old.id)
      AND choice=old.last_choice AND token_ids=old.last_ids)
  BEGIN SELECT RAISE(ABORT,'ids stay'); END;
