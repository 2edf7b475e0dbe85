package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/outhook/webhook"
)

const riverWorkers = 200

// riverQueue is a job queue on PostgreSQL whose worker signs and posts, as one
// would build webhooks on River. It keeps the rows of its jobs and, if logged, the
// record of each attempt, in River's own way: as the job's output, which is
// stored with its completion.
func riverQueue(d *databases, logged bool) contender {
	name := "River"
	if logged {
		name = "River, attempts logged"
	}
	return contender{name: name, server: d.cpuTime, prepare: func(ctx context.Context, url string, n int) (func(context.Context) error, error) {
		dsn, drop, err := d.create(ctx)
		if err != nil {
			return nil, err
		}
		pool, err := pgxpool.New(ctx, fmt.Sprintf("%s&pool_max_conns=%d", dsn, connections))
		if err != nil {
			return nil, errors.Join(err, drop())
		}
		release := func() error {
			pool.Close()
			return drop()
		}
		client, err := newRiver(ctx, pool, url+"/quick", logged)
		if err == nil {
			err = insertJobs(ctx, client, n)
		}
		if err == nil {
			err = ready(ctx, dsn)
		}
		if err != nil {
			return nil, errors.Join(err, release())
		}
		return func(stop context.Context) error {
			err := work(ctx, stop, client)
			if err == nil {
				err = completed(ctx, pool, n, logged)
			}
			return errors.Join(err, release())
		}, nil
	}}
}

// work works jobs until stop ends.
func work(ctx, stop context.Context, client *river.Client[pgx.Tx]) error {
	if err := client.Start(ctx); err != nil {
		return err
	}
	<-stop.Done()
	return client.Stop(ctx)
}

// completed returns an error unless n jobs are completed and, if logged, have their
// attempts.
func completed(ctx context.Context, pool *pgxpool.Pool, n int, logged bool) error {
	var jobs int
	err := pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE state = 'completed' AND (metadata ? 'output') = $1", logged).Scan(&jobs)
	if err == nil && jobs != n {
		err = fmt.Errorf("%d of %d jobs are completed", jobs, n)
	}
	return err
}

func newRiver(ctx context.Context, pool *pgxpool.Pool, url string, logged bool) (*river.Client[pgx.Tx], error) {
	driver := riverpgxv5.New(pool)
	// It logs an error for each job that fails; one is enough for a failed round.
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: logger})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &postWorker{
		url:     url,
		logged:  logged,
		secrets: []webhook.Secret{webhook.NewSecret()},
		client:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: riverWorkers, DisableCompression: true}},
	})
	return river.NewClient(driver, &river.Config{
		FetchCooldown: 2 * time.Millisecond,
		JobTimeout:    timeout,
		Logger:        logger,
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: riverWorkers}},
		Workers:       workers,
	})
}

// insertJobs inserts n jobs that each post the body of the benchmark's event.
func insertJobs(ctx context.Context, client *river.Client[pgx.Tx], n int) error {
	body := string(bodyOf(benchmarkEvent()))
	jobs := make([]river.InsertManyParams, 0, batchSize)
	for i := range n {
		jobs = append(jobs, river.InsertManyParams{Args: postArgs{uuid.Must(uuid.NewV7()).String(), body}})
		if len(jobs) < batchSize && i < n-1 {
			continue
		}
		if _, err := client.InsertMany(ctx, jobs); err != nil {
			return err
		}
		jobs = jobs[:0]
	}
	return nil
}

// postArgs are the arguments of a job.
type postArgs struct {
	ID   string `json:"id"`
	Body string `json:"body"`
}

func (postArgs) Kind() string { return "post" }

// postWorker signs and posts.
type postWorker struct {
	river.WorkerDefaults[postArgs]
	url     string
	logged  bool
	secrets []webhook.Secret
	client  *http.Client
}

func (w *postWorker) Work(ctx context.Context, job *river.Job[postArgs]) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, strings.NewReader(job.Args.Body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "River/1")
	message := webhook.Message{ID: job.Args.ID, Timestamp: time.Now(), Body: []byte(job.Args.Body)}
	if err := (webhook.StandardWebhooks{}).Sign(req.Header, message, w.secrets); err != nil {
		return err
	}
	res, err := w.client.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, 16<<10))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if w.logged {
		if err := river.RecordOutput(ctx, &webhook.Attempt{
			ID: uuid.Must(uuid.NewV7()).String(), DeliveryID: job.Args.ID, Number: job.Attempt,
			StartedAt: message.Timestamp, Duration: time.Since(message.Timestamp), URL: w.url, StatusCode: res.StatusCode,
			RequestHeaders: req.Header, ResponseHeaders: res.Header, BodySHA256: sha256.Sum256(message.Body), ResponseBody: answer,
		}); err != nil {
			return err
		}
	}
	return checkStatus(res)
}
